"""Which answer is better: verifiers, likelihood, majority vote, a person, reward functions; and agreement between judges."""
