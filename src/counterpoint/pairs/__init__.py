"""What is set against what: views, noise, negatives, chosen and rejected."""
