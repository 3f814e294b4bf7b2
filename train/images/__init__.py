"""Images of seeds, by a checkpoint or by a bundle on any backend."""
