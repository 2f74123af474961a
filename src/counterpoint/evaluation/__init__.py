"""How good a model is: one module per kind of measurement."""
