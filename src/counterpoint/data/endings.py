"""Endings of the files of a medium, in lower case: one list for the loader and for recognition."""

PICTURES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
)
UNREAD_PICTURES = (".heic", ".heif", ".avif", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw", ".psd")
"""Pictures that are not read: what phones and cameras write, and drawings."""
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".gsm", ".opus")
UNREAD_SOUNDS = (".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm")
"""Sounds that are not read: what phones and recorders write."""
