"""The machine: files read and written with care, locks, the terminal, compiled programs that are kept."""
