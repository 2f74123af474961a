"""Encoders of which smaller ones are parts: architectures and what they cost, the super-network, and what is cut out of it."""
