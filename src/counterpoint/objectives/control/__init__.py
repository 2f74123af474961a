"""Acting, exploring, ranking."""
