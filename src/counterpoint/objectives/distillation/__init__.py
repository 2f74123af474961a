"""Learning from a teacher's outputs."""
