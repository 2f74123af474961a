"""Trajectories, features and answers of a person."""
