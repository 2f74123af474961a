"""A teacher that follows the student slowly: the exponential moving average of its weights, or of its adapters.

average <- decay * average + (1 - decay) * student (UniSD 2605.06597, eq. 3; mean teacher 1703.01780). Under LoRA the
average is of the adapters: an average over the frozen base alone would never move.
"""

from __future__ import annotations

import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Language
from counterpoint.teachers.shadow import Shadow


class Ema(Shadow):
    """The moving average of a student; register it: ``teacher = run.state(teacher=Ema(model, 0.98))``.

    Args:
        model: the student.
        decay: how much of the average is kept at an update, in [0, 1]; 1 never moves, 0 is the student.
        every: update at every ``every``-th call of ``follow``, counted from 1.
        at_once: rows that go through it at a time.

    >>> from counterpoint.models.language.characters import tiny
    >>> student = tiny()
    >>> teacher = Ema(student, decay=0.75)
    >>> _ = student.head.weight.data.add_(4.0)
    >>> before = teacher.model.head.weight.clone()
    >>> teacher.follow(student)
    >>> round(float((teacher.model.head.weight - before).mean()), 4)
    1.0
    """

    def __init__(self, model: Language, decay: float, *, every: int = 1, at_once: int | None = None) -> None:
        if not 0 <= decay <= 1 or every < 1:
            raise CounterpointError(
                f"Ema(decay={decay}, every={every}): decay is the part kept, in [0, 1]; every >= 1"
            )
        super().__init__(model, at_once=at_once)
        self.decay, self.every = decay, every
        self.calls = torch.zeros((), dtype=torch.long)

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Count an optimiser step of the student, and move when it is time."""
        self.calls += 1
        if int(self.calls) % self.every:
            return
        for own, theirs in self.pairs(student):
            if own.is_floating_point():
                own.lerp_(theirs.to(own.dtype), 1 - self.decay)
            else:
                own.copy_(theirs)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averaged weights and the count of steps."""
        return super().state_dict() | {"calls": self.calls}
