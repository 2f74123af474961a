"""Speech encoders and what stands on them."""
