"""Pictures of what models find: numpy in, uint8 out."""
