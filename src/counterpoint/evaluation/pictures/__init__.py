"""Measurements of models that make pictures."""
