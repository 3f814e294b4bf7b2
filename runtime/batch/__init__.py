"""Large batches of images: planned, computed, written, resumed."""
