"""The training loop: one step, its losses, resuming, and what surrounds it."""
