"""Sampling from a model, on the model itself or through a server."""
