"""A teacher that never changes: the student as it was given, or another model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from counterpoint.kernels.scores import Head
from counterpoint.models.language.language import Language
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.shadow import Asked, snapshot, speak


class Frozen(nn.Module):
    """A constant copy of a model; ``run.place`` it. Nothing of it needs saving.

    Make it from the student at the top of ``fit``, where the student always has its initial weights.

    Args:
        model: the model to copy; frozen weights are shared with it.
        at_once: rows that go through it at a time; None takes all.

    >>> from counterpoint.models.language.characters import tiny
    >>> student = tiny()
    >>> teacher = Frozen(student)
    >>> teacher.answer(["1+1="], student.completions(["2"])).vocabulary == student.head.weight.shape[0]
    True
    """

    def __init__(self, model: Language, *, at_once: int | None = None) -> None:
        super().__init__()
        self.model: Any = snapshot(model)
        self.at_once = at_once

    def answer(self, asked: Asked, completions: Tokens, index: Tensor | None = None) -> Head:
        """Scores at the completions' positions [B, T]."""
        return speak(self.model, asked, completions, self.at_once)
