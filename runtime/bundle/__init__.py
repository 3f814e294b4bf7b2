"""The bundle format: read, written, named."""
