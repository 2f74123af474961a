"""Numeric targets of table rows and images."""
