"""Pure functions: tensors in, one loss per item out."""
