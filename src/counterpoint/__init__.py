"""counterpoint: make a model better from contrast and from its own or a teacher's voice.

Importing the package loads no torch; the functions below import what they need when they are called.
"""

__version__ = "0.1.0"
