"""A teacher that is an earlier self of the student: a copy that stands still until it is refreshed."""

from __future__ import annotations

import torch
from torch import nn

from counterpoint.teachers.copies import Copied, M


class Past(Copied[M]):
    """The student at its last refresh; ``past = run.state(past=Past(model))``, then ``run.once("refresh", ...)``.

    >>> student = nn.Linear(2, 1)
    >>> past = Past(student)
    >>> _ = student.weight.data.zero_()
    >>> past.refresh(student)
    >>> float(past.model.weight.abs().sum())
    0.0
    """

    @torch.no_grad()
    def refresh(self, student: nn.Module) -> None:
        """Become the student as it is now."""
        for own, theirs in self.pairs(student):
            own.copy_(theirs)

    @torch.no_grad()
    def restore(self, student: nn.Module) -> None:
        """Make the student what it was at the last refresh."""
        for own, theirs in self.pairs(student):
            theirs.copy_(own)
