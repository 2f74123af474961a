"""Image encoders and what stands on them."""
