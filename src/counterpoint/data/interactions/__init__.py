"""What users did with items."""
