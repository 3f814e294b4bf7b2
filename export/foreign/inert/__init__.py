"""A pickle reader that imports and calls nothing from the file."""
