"""Draws runs and studies as one HTML page."""
