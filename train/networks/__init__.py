"""The networks, a folder a family."""
