"""Contrast and classification with labels."""
