"""Rows for language models: problems with solutions, and preferences."""
