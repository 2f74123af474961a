"""The Run: batches, steps, rounds, durable stages, checkpoints, budget, events."""
