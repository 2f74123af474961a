"""Passes of rows through a model without gradient: how many rows at once, and what happens between two passes.

Reference log-probabilities, judging, evaluation, perplexity and sampling all read this. A Run sets it to its micro-batch
size and to the place where it may stop; a study sets it around measurements. Outside both, each pass takes its usual rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def _nothing(done: int, rows: int) -> None:
    """What happens between passes where nobody says so."""


@dataclass(frozen=True)
class Limits:
    """What holds for passes.

    Attributes:
        rows: sequences at once at most; None leaves it to the pass.
        between: called with (rows done, rows in all) after each pass; it may raise to stop there.
        reply_tokens: longest reply where replies are measured; None leaves it to the measurement.
    """

    rows: int | None = None
    between: Callable[[int, int], None] = _nothing
    reply_tokens: int | None = None


_here: ContextVar[Limits] = ContextVar("counterpoint_passes", default=Limits())  # noqa: B039  (it is frozen)


@contextmanager
def limits(
    rows: int | None, between: Callable[[int, int], None] = _nothing, *, reply_tokens: int | None = None
) -> Iterator[None]:
    """Set the limits within a ``with`` block.

    >>> with limits(rows=2):
    ...     [list(part) for part in over(range(5), usual=64)]
    [[0, 1], [2, 3], [4]]
    """
    # Not by the variable's tokens: a generator that holds this block may be closed from another context.
    before = _here.get()
    _here.set(Limits(rows, between, reply_tokens))
    try:
        yield
    finally:
        _here.set(before)


def at_once(usual: int) -> int:
    """Rows of one pass: the usual number, or the limit where that is lower.

    >>> at_once(64)
    64
    """
    rows = _here.get().rows
    return usual if rows is None else min(rows, usual)


def reply_tokens() -> int | None:
    """The longest reply that a measurement may ask for, where that is set."""
    return _here.get().reply_tokens


def over(rows: Sequence[T], usual: int, *, announce: bool = True) -> Iterator[Sequence[T]]:
    """Cut rows into passes, in their order.

    Args:
        rows: what is to go through a model.
        usual: rows at once where no limit is set.
        announce: whether the limit's ``between`` is called; not for passes inside of passes.
    """
    step = max(at_once(usual), 1)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
        if announce:
            _here.get().between(min(start + step, len(rows)), len(rows))
