"""Loops that cannot be walked say so."""

from __future__ import annotations

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.training.batches import Plan


@pytest.mark.parametrize(
    ("length", "size", "drop_last", "lesson"),
    [
        (0, 4, False, "empty source"),
        (3, 0, False, "at least 1"),
        (3, -2, True, "at least 1"),
        (3, 4, True, "no full batch of 4"),
    ],
)
def test_a_loop_needs_rows_and_batches_of_some(length: int, size: int, drop_last: bool, lesson: str) -> None:
    with pytest.raises(CounterpointError, match=lesson):
        Plan(length, size, seed=0, loop="train", shuffle=True, drop_last=drop_last)
