"""Whose voice is learnt from: nouns with one verb."""
