"""The second largest of several digits, with the rationales of a simulated teacher who errs: what rationale distillation filters.

A rationale is the digits in falling order and the answer. A wrong one has another digit in second place, and its answer.
"""

from __future__ import annotations

import random
from dataclasses import replace

from counterpoint.data.language.problem import Problem


def second_largest(digits: list[int]) -> Problem:
    """A problem with its right rationale as the solution.

    >>> second_largest([4, 9, 7]).prompt, second_largest([4, 9, 7]).solution
    ('4 9 7', '9 7 4 #### 7')
    """
    ordered = sorted(digits, reverse=True)
    return Problem(prompt=" ".join(map(str, digits)), solution=_written(ordered), answer=str(ordered[1]))


def drawn(count: int, draw: random.Random) -> Problem:
    """A random problem of ``count`` distinct digits, from 2 to 10 of them."""
    return second_largest(draw.sample(range(10), min(max(count, 2), 10)))


def with_teacher(problem: Problem, samples: int, wrong: float, draw: random.Random) -> Problem:
    """The problem with what the teacher wrote to it: ``samples`` rationales, each wrong with probability ``wrong``.

    >>> taught = with_teacher(second_largest([4, 9, 7]), 2, 1.0, random.Random(0))
    >>> all(text.endswith(("9", "4")) for text in taught.meta["rationales"])
    True
    """
    ordered = sorted(map(int, str(problem.prompt).split()), reverse=True)
    texts = []
    for _ in range(samples):
        order = list(ordered)
        if draw.random() < wrong:
            other = draw.choice([at for at in range(len(order)) if at != 1])
            order[1], order[other] = order[other], order[1]
        texts.append(_written(order))
    return replace(problem, meta={"rationales": texts})


def _written(order: list[int]) -> str:
    return " ".join(map(str, order)) + f" #### {order[1]}"
