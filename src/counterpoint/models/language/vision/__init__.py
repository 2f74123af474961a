"""Rows with pictures: what their processor makes of them, and how a model reads them."""
