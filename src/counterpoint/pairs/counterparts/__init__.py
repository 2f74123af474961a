"""Pairs of questions about similar images, and what is written from them (VC-STaR)."""
