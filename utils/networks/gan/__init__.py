"""Synthetic fields: a conditional generator, how it is trained, measured and let in, or not."""
