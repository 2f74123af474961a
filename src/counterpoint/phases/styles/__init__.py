"""Pieces of the training of models that restyle pictures."""
