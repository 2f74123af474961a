"""Which answer is better: verifiers, unit tests, likelihood, majority, models, a person, reward functions; and how they are compared."""
