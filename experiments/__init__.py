"""Experiments: one file, one claim. `python -m experiments` lists them."""
