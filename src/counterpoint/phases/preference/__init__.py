"""Pieces of training on preferences that several methods share."""
