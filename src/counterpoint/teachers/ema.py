"""A teacher that follows the student slowly: the exponential moving average of its weights, or of its adapters.

average <- decay * average + (1 - decay) * student (UniSD 2605.06597, eq. 3; mean teacher 1703.01780). Under LoRA the
average is of the adapters: an average over the frozen base alone would never move.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.teachers.copies import Copied, M


class Ema(Copied[M]):
    """The moving average of any student; register it: ``teacher = run.state(teacher=Ema(model, 0.98))``.

    Args:
        model: the student.
        decay: how much of the average remains at an update, in [0, 1]; 1 never moves, 0 is the student.
        every: update at every ``every``-th call of ``follow``, counted from 1.

    >>> student = nn.Linear(2, 1)
    >>> teacher = Ema(student, decay=0.75)
    >>> _ = student.bias.data.add_(4.0)
    >>> before = teacher.model.bias.clone()
    >>> teacher.follow(student)
    >>> round(float(teacher.model.bias - before), 4)
    1.0
    """

    calls: Tensor

    def __init__(self, model: M, decay: float, *, every: int = 1) -> None:
        if not 0 <= decay <= 1 or every < 1:
            raise CounterpointError(
                f"Ema(decay={decay}, every={every}): decay is the part that remains, in [0, 1]; every >= 1; for example "
                "Ema(model, 0.98)"
            )
        super().__init__(model)
        self.decay, self.every = decay, every
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Count an optimiser step of the student, and move when it is time. Running statistics move alike, counts are copied."""
        self.calls += 1
        if int(self.calls) % self.every:
            return
        for own, theirs in self.pairs(student):
            if own.is_floating_point():
                own.lerp_(theirs.to(own.dtype), 1 - self.decay)
            else:
                own.copy_(theirs)
