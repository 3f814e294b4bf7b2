"""StyleGAN2 with subspaces, as it is trained."""
