"""Optimizers, learning rates and search, side by side."""
