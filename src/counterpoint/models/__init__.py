"""Model loaders and the small reference models."""
