"""A run while it goes on: measurements on validation, and what can be seen of it from outside."""
