"""What methods that learn to retrieve share, and that needs a Run."""
