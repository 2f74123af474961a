"""Texts with or without labels."""
