"""Seeds, the latents that they stand for, and how images are asked for."""
