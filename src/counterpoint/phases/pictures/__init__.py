"""Pieces of the training of models that make pictures."""
