"""One readable file per published method; catalog.toml lists them."""
