"""Parts of a Run that only the Run uses."""
