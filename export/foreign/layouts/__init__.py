"""How each project lays out its checkpoints, one file per project."""
