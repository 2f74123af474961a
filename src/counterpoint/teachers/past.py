"""A teacher that is an earlier self of the student: a copy that stands still until it is refreshed."""

from __future__ import annotations

import torch
from torch import nn

from counterpoint.teachers.shadow import Shadow


class Past(Shadow):
    """The student at its last refresh; ``past = run.state(past=Past(model))``, then ``run.once("refresh", ...)``.

    >>> from counterpoint.models.characters import tiny
    >>> student = tiny()
    >>> past = Past(student)
    >>> _ = student.head.weight.data.zero_()
    >>> past.refresh(student)
    >>> float(past.model.head.weight.abs().sum())
    0.0
    """

    @torch.no_grad()
    def refresh(self, student: nn.Module) -> None:
        """Become the student as it is now."""
        for own, theirs in self.pairs(student):
            own.copy_(theirs)
