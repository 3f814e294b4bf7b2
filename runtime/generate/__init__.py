"""A bundle as a generator: images of seeds, sweeps, mixes and walks."""
