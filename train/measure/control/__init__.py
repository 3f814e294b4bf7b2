"""What sliders and codes do to known attributes."""
