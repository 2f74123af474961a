"""Penalties on what a model wrote, subtracted from its reward: betraying privileged information, length (arXiv 2602.04942).

No model, no torch: texts and token counts in, numbers from 0 on out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def keywords_of(listed: str) -> list[str]:
    """The keywords of a comma-separated list.

    >>> keywords_of("secret information, the hint,")
    ['secret information', 'the hint']
    """
    return [word for word in (part.strip() for part in listed.split(",")) if word]


def leakage(text: str, keywords: Sequence[str], weight: float = 0.1) -> float:
    """``weight`` for each keyword that a completion holds, whatever its case and however often.

    >>> leakage("As the Secret information says, and the secret information", ["secret information", "hint"])
    0.1
    """
    folded = text.casefold()
    return weight * sum(word.casefold() in folded for word in keywords)


def length(
    turns: Sequence[int], weight: float = 0.1, free: int = 2000, long: int = 5000, most: float = 0.3
) -> float:
    """The mean over turns of what their numbers of tokens cost, at most ``most``.

    A turn costs nothing up to ``free`` tokens, rises along a half cosine to ``weight`` at ``long``, and from there straight
    to twice that as far beyond ``long`` again. (The slope beyond ``long`` is not published.)

    >>> [round(length([tokens]), 3) for tokens in (2000, 3500, 5000, 6500, 99999)]
    [0.0, 0.05, 0.1, 0.15, 0.2]
    >>> length([100, 5000])
    0.05
    """
    if not turns:
        return 0.0
    span = max(long - free, 1)
    costs = []
    for tokens in turns:
        beyond = (tokens - free) / span
        if beyond <= 1:
            costs.append(0.5 * weight * (1 - math.cos(math.pi * max(beyond, 0.0))))
        else:
            costs.append(weight * min(beyond, 2.0))
    return min(sum(costs) / len(costs), most)
