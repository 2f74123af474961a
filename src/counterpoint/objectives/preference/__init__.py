"""Preferences, likelihood and policy gradients."""
