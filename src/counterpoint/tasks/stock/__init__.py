"""Small language models made here, for tests and demonstrations."""
