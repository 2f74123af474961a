"""A teacher that never changes: the student as it was given, or another model."""

from __future__ import annotations

from counterpoint.teachers.copies import Copied, M


class Frozen(Copied[M]):
    """A constant copy of any module; ``run.constant`` it. Nothing of it needs saving.

    Make it from the student at the top of ``fit``, where the student always has its initial weights.

    >>> import torch
    >>> student = torch.nn.Linear(2, 1)
    >>> teacher = Frozen(student)
    >>> before = teacher(torch.ones(1, 2))
    >>> _ = student.weight.data.zero_()
    >>> bool(torch.equal(teacher(torch.ones(1, 2)), before))
    True
    """
