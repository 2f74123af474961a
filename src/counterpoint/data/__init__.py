"""Data formats, validation, splits, and the bundled real data sets."""
