"""Causal language models: scoring, adapters, shared prompts."""
