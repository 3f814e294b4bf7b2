"""Measures of a generator."""
