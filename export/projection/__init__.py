"""Projection: finds the latent of a photo (``segan project``)."""
