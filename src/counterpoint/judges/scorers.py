"""Scorers: a completion's text and a problem in, a number in [0, 1] out. What the verifier compares by."""

from __future__ import annotations

import re
from collections.abc import Callable

from counterpoint.data.language import reasoning
from counterpoint.data.language.answer import NUMBER, answer_kind, final_answer, number
from counterpoint.data.language.bandits import bump
from counterpoint.data.language.instructions import follows
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError, nearest
from counterpoint.judges.mathematical import mathematical
from counterpoint.judges.multiple_choice import choice
from counterpoint.judges.unit_tests import UnitTests

Scorer = Callable[[str, Problem], float]


def exact(completion: str, answer: str) -> float:
    """1 when the completion's final answer is the answer, but for case, outer space and a closing point.

    >>> exact("Answer: Paris.", "paris"), exact("Lyon", "Paris")
    (1.0, 0.0)
    """

    def plain(text: str) -> str:
        return " ".join(text.split()).strip(" .").casefold()

    return float(plain(final_answer(completion)) == plain(final_answer(answer)))


def numeric(completion: str, answer: str) -> float:
    """1 when the last number of the completion's final answer equals the answer's number.

    >>> numeric("That makes 12.0 apples.", "12"), numeric("I do not know", "12")
    (1.0, 0.0)
    """
    given, wanted = number(final_answer(completion)), number(final_answer(answer))
    return float(wanted is not None and given == wanted)


def last(completion: str, answer: str) -> float:
    """1 when what follows the completion's last semicolon, line break or space is the answer.

    >>> last("a:b,b:;ab", "ab"), last("it is ba", "ab")
    (1.0, 0.0)
    """
    parts = re.split(r"[;\s]+", completion.strip())
    return float(parts[-1].strip(".").casefold() == answer.strip().casefold())


def procedural(completion: str, problem: Problem) -> float:
    """By the problem's own task in reasoning-gym, on the completion's final answer (its last number, where one is wanted)."""
    named = final_answer(completion)
    given = number(named)
    if given is not None and NUMBER.fullmatch(problem.answer.strip()):
        named = str(given)
    return reasoning.score_entry(named, problem.meta)


BY_KIND: dict[str, Callable[[str, str], float]] = {"number": numeric, "math": mathematical, "exact": exact}
"""How each kind of answer is compared, in files that mix them."""
SCORERS: dict[str, Scorer] = {
    "exact": lambda completion, problem: exact(completion, problem.answer),
    "number": lambda completion, problem: numeric(completion, problem.answer),
    "last": lambda completion, problem: last(completion, problem.answer),
    "math": lambda completion, problem: mathematical(completion, problem.answer),
    "choice": lambda completion, problem: choice(completion, problem.answer, problem.question),
    "answer": lambda completion, problem: BY_KIND[answer_kind(problem.answer)](completion, problem.answer),
    "tests": lambda completion, problem: UnitTests().score(completion, problem),
    "bump": lambda completion, problem: bump(completion, problem.answer),
    "instructions": lambda completion, problem: follows(completion, problem.answer),
    "reasoning-gym": procedural,
}


def scorer(name: str) -> Scorer:
    """Return a scorer by name.

    >>> scorer("numbr")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: there is no scorer 'numbr'; did you mean 'number'?
    """
    try:
        return SCORERS[name]
    except KeyError:
        raise CounterpointError(f"there is no scorer '{name}'; {nearest(name, SCORERS)}") from None
