"""Answers behind one copy of their prompt: the states, whether it pays and may be done, and what caches are called."""

from counterpoint.kernels.prefix.states import shared_prompt_states

__all__ = ["shared_prompt_states"]
