"""Pieces of a training that several methods share and that need a Run."""
