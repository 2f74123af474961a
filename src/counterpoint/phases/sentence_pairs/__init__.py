"""What methods share that train sentence encoders."""
