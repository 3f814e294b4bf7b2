"""A reader of pickles that imports nothing and calls nothing."""
