"""Text encoders and what stands on them."""
