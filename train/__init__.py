"""Training: networks, subspaces, losses, data and the training loop (PyTorch)."""
