"""Objectives and judges as parts of other people's trainers; docs/trainers.md shows a run of each."""

from counterpoint._lazy import lazy

__getattr__ = lazy(
    __name__,
    modules=("objective",),
    sentences=("SentenceLoss",),
    trl=("distillation_trainer", "policy_trainer", "preference_trainer"),
    rewards=("reward_function",),
)
