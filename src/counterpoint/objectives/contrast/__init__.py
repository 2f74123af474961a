"""Contrast without labels: InfoNCE and its kin."""
