"""Self-play of a solver and a conjecturer: what a round samples and remembers, and what is learnt from it."""
