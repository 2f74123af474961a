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
        tokens: positions at once at most, padding included; rows then go together as long as they fit, one row at least.
        between: called with (rows done, rows in all) after each pass; it may raise to stop there.
        reply_tokens: longest reply where replies are measured; None leaves it to the measurement.
    """

    rows: int | None = None
    between: Callable[[int, int], None] = _nothing
    reply_tokens: int | None = None
    tokens: int | None = None


_here: ContextVar[Limits] = ContextVar("counterpoint_passes", default=Limits())  # noqa: B039  (it is frozen)


@contextmanager
def limits(
    rows: int | None,
    between: Callable[[int, int], None] = _nothing,
    *,
    reply_tokens: int | None = None,
    tokens: int | None = None,
) -> Iterator[None]:
    """Set the limits within a ``with`` block.

    >>> with limits(rows=2):
    ...     [list(part) for part in over(range(5), usual=64)]
    [[0, 1], [2, 3], [4]]
    """
    # Not by the variable's tokens: a generator that holds this block may be closed from another context.
    before = _here.get()
    _here.set(Limits(rows, between, reply_tokens, tokens))
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


def token_limit() -> int | None:
    """Positions of one pass, where that is limited."""
    return _here.get().tokens


def within(lengths: Sequence[int], tokens: int) -> list[slice]:
    """Cut rows, in their order, into parts of at most so many positions: rows times the longest of them.

    >>> within([5, 3, 9, 30, 2], tokens=18)
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    parts: list[slice] = []
    start = longest = 0
    for at, length in enumerate(lengths):
        longest = max(longest, length)
        if at > start and (at + 1 - start) * longest > tokens:
            parts.append(slice(start, at))
            start, longest = at, length
    return [*parts, slice(start, len(lengths))]


def reply_tokens() -> int | None:
    """The longest reply that a measurement may ask for, where that is set."""
    return _here.get().reply_tokens


def over(
    rows: Sequence[T], usual: int, *, lengths: Sequence[int] | None = None, announce: bool = True
) -> Iterator[Sequence[T]]:
    """Cut rows into passes, in their order.

    Args:
        rows: what is to go through a model.
        usual: rows at once where no limit is set.
        lengths: positions that each row takes, where they are known; else the model itself keeps to a limit on tokens.
        announce: whether the limit's ``between`` is called; not for passes inside of passes.
    """
    step, limit = max(at_once(usual), 1), token_limit()
    parts = [slice(start, start + step) for start in range(0, len(rows), step)]
    if limit is not None and lengths is not None and len(rows):
        parts = within(lengths, limit)
    for part in parts:
        yield rows[part]
        if announce:
            _here.get().between(min(part.stop, len(rows)), len(rows))
