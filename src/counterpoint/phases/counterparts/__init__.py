"""Stages of VC-STaR: who is paired with whom, and what the model writes alone, with a hint and beside the counterpart."""
