"""Seeds, the latents that they define, and the settings of a request."""
