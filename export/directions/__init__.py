"""Directions: sliders for any bundle, from factorisation, PCA or files (``segan directions``)."""
