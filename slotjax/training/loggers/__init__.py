"""Who is told how a run goes on, besides its own files: services that people log to. One file a logger."""
