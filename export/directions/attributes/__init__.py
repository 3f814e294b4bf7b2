"""Least-leakage directions: each moves one attribute that a reader reads, and leaves the others."""
