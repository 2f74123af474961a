"""Pieces of distilling text encoders: which layers match, and texts as both models read them."""
