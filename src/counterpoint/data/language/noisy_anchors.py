"""Pairs of letters with a letter for each pair by a fixed table, and the answers of a simulated teacher who errs.

Imitating such a teacher ends at the teacher's own quality; ranking by its answers can end above it.
"""

from __future__ import annotations

import random
from dataclasses import replace

from counterpoint.data.language.problem import Problem

LETTERS = "abcdef"
_DRAWN = random.Random("letter-pairs")
TABLE = {one + other: _DRAWN.choice(LETTERS) for one in LETTERS for other in LETTERS}
"""The right letter of every pair."""


def letter_pair(pair: str, number: int) -> Problem:
    """The letter of a pair; the number only makes prompts differ.

    >>> letter_pair("ab", 7).prompt, letter_pair("ab", 7).answer == TABLE["ab"]
    ('ab07=', True)
    """
    return Problem(prompt=f"{pair}{number:02d}=", answer=TABLE[pair])


def drawn(_: int, draw: random.Random) -> Problem:
    """A random problem."""
    return letter_pair(draw.choice(LETTERS) + draw.choice(LETTERS), draw.randrange(100))


def with_anchor(problem: Problem, _: int, wrong: float, draw: random.Random) -> Problem:
    """The problem with the teacher's answer as its solution: with probability ``wrong`` any of the letters.

    >>> with_anchor(letter_pair("ab", 7), 1, 0.0, random.Random(0)).solution == TABLE["ab"]
    True
    """
    return replace(problem, solution=draw.choice(LETTERS) if draw.random() < wrong else problem.answer)
