"""Models of trajectories."""
