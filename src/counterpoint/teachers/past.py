"""A teacher that is an earlier self of the student: a copy that stands still until it is refreshed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.teachers.shadow import Shadow


class Past(Shadow):
    """The student at its last refresh; ``past = run.state(past=Past(model))``, then ``run.once("refresh", ...)``.

    >>> from counterpoint.models.language.characters import tiny
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


@torch.no_grad()
def answers_about(
    place: Tensor, forward: Callable[..., dict[str, Tensor]], *inputs: Tensor, **options: Any
) -> dict[str, Tensor]:
    """What a teacher gives for some rows of a batch; zeros, which nothing should read, stand for the others.

    Args:
        place: [n] rows that the teacher hears.
        forward: the teacher; gives named tensors, a row each per row of the inputs.
        inputs: [N, ...] each. options: handed on.

    Returns:
        The same names, [N, ...] each, without gradient.

    >>> answers_about(torch.tensor([1]), lambda x: {"twice": 2 * x}, torch.tensor([3.0, 4.0]))
    {'twice': tensor([0., 8.])}
    """
    size = len(inputs[0])
    if not len(place):  # one row for the shapes; nothing reads it
        place = torch.arange(min(1, size), device=place.device)
    parts = forward(*(rows[place] for rows in inputs), **options)
    return {
        name: value.new_zeros(size, *value.shape[1:]).index_copy(0, place, value)
        for name, value in parts.items()
    }
