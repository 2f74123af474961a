"""Streaming primitives: statistics and their gradients in bounded memory."""
