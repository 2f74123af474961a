"""Streaming primitives: statistics and their gradients in bounded memory.

``vocabulary`` and ``similarity`` hand out statistics, ``prefix`` shares a prompt; ``config`` says which path they take.
"""
