"""What evidence rests on: bounds of metrics, splits that overlap, and which case made it."""
