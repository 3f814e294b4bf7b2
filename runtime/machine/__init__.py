"""Cores, memory, GPUs and worker processes."""
