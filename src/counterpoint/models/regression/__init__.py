"""Models of numeric targets."""
