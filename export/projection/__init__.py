"""The latent of a photo."""
