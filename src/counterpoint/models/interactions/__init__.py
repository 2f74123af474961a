"""Recommenders of users and items."""
