"""What a model makes, measured: images, quality and control."""
