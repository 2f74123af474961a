"""Encoders of texts to be found."""
