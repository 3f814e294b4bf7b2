"""Sliders for any bundle: closed-form factorisation, PCA, and directions from files."""
