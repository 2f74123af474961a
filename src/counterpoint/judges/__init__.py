"""Who says which answer is better: verifiers, self-judging, agreement."""
