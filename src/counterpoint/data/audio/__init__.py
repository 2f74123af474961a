"""Sound clips with labels: folders and tables."""
