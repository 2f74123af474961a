"""Endings of the files of a medium, in lower case: one list for the loader and for recognition."""

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".gsm", ".opus")
