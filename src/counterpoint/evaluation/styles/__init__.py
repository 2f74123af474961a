"""Measurements of models that restyle pictures."""
