"""Lines that one number completes: sums, products and the larger of two, with four worked lines of the same sort as a hint.

A pretrained language model completes them badly as they stand and well after a few worked ones, so they are a real case of
a model that knows more than it says.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from counterpoint.data.language.problem import Problem

SHOWN = 4
"""Worked lines in a hint."""


def _sum(draw: random.Random) -> tuple[str, int]:
    one, other = draw.randint(1, 9), draw.randint(1, 9)
    return f"{one} + {other} =", one + other


def _product(draw: random.Random) -> tuple[str, int]:
    one, other = draw.randint(2, 9), draw.randint(2, 9)
    return f"{one} x {other} =", one * other


def _larger(draw: random.Random) -> tuple[str, int]:
    one, other = draw.sample(range(10, 100), 2)
    return f"max({one}, {other}) =", max(one, other)


SORTS: tuple[Callable[[random.Random], tuple[str, int]], ...] = (_sum, _product, _larger)


def drawn(digits: int, draw: random.Random) -> Problem:
    """A line of a random sort; its solution begins with the blank that separates it from the line.

    Args:
        digits: not looked at; other puzzles are drawn by it.
        draw: where randomness comes from.

    >>> row = drawn(1, random.Random(1))
    >>> row.prompt, row.solution, row.answer
    ('2 + 5 =', ' 7', '7')
    >>> row.hint.count("="), row.prompt in row.hint
    (4, False)
    """
    made = draw.choice(SORTS)
    line, number = made(draw)
    lines: list[str] = []
    while len(lines) < SHOWN:
        other, result = made(draw)
        worked = f"{other} {result}"
        if other != line and worked not in lines:
            lines.append(worked)
    return Problem(prompt=line, solution=f" {number}", answer=str(number), hint="\n".join(lines))
