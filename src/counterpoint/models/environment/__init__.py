"""Models that plan and act."""
