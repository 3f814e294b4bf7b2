"""How each project lays out its checkpoints, a file a project."""
