"""Measures of a generator: image quality, and what its sliders control."""
