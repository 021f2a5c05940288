"""A page on this machine: drop a picture in, see its slots, and move them about."""
