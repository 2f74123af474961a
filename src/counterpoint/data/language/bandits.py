"""A bandit as problems: a context to read, one of a hundred actions to write (or several in a row), a reward with one peak.

The didactic problem of arXiv 2404.14367: logged actions follow tanh(-0.7 + 0.4 Cauchy) in a hundred bins of [-1, 1]; the reward of action
a is exp(-((a - peak) / 10)^2), far from where the logged actions lie (peak 70) or among them (peak 20). An action is one character.
"""

from __future__ import annotations

import math
import random

from counterpoint.data.language.problem import Problem

ACTIONS = "".join(chr(256 + number) for number in range(100))
"""The actions in their order, Latin letters of one code point each."""
CENTRE, SPREAD, WIDTH, DRAWS = -0.7, 0.4, 10.0, 10_000
FLOOR = 1e-5
"""Probability that no logged action is below: a bin without a draw has a logarithm, too."""


def context(digits: int, draw: random.Random, peak: int, length: int) -> Problem:
    """One problem: digits to read, which decide nothing, and as its answer the best action, ``length`` times.

    >>> context(4, random.Random(0), 70, 2).answer == ACTIONS[70] * 2
    True
    """
    return Problem(prompt=f"{draw.randrange(10**digits):0{digits}d}", answer=ACTIONS[peak] * length)


def bump(completion: str, answer: str) -> float:
    """The reward: the mean over the answer's positions of exp(-((a - peak) / 10)^2), 0 where there is no action.

    >>> bump(ACTIONS[70], ACTIONS[70]), round(bump(ACTIONS[60], ACTIONS[70]), 3), bump("7", ACTIONS[70])
    (1.0, 0.368, 0.0)
    """
    pairs = zip(completion, answer)
    total = sum(math.exp(-(((ord(one) - ord(best)) / WIDTH) ** 2)) for one, best in pairs if one in ACTIONS)
    return total / max(len(answer), 1)


def logged() -> list[float]:
    """Probability of every action in the logged data: always the same histogram of 10,000 draws, no bin below ``FLOOR``.

    >>> len(logged()), round(sum(logged()), 9), logged().index(max(logged())) < 25
    (100, 1.0, True)
    """
    draw, counts = random.Random("bandit"), [0] * len(ACTIONS)
    for _ in range(DRAWS):
        cauchy = math.tan(math.pi * (draw.random() - 0.5))
        value = math.tanh(CENTRE + SPREAD * cauchy)
        counts[min(int((value + 1.0) / 2.0 * len(ACTIONS)), len(ACTIONS) - 1)] += 1
    floored = [max(count / DRAWS, FLOOR) for count in counts]
    return [value / sum(floored) for value in floored]
