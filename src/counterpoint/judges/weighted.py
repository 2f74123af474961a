"""Several judges by one setting: "verifier + 0.5*mine.py:brevity", each with its weight in the sum of rewards."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from counterpoint.errors import CounterpointError
from counterpoint.judges.judge import Judge

TERM = re.compile(r"(?:([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*\*\s*)?(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Weighted:
    """A judge, what it is called in tables, and its weight in the sum."""

    name: str
    judge: Judge
    weight: float


def weighted(spec: str, build: Callable[[str], Judge], method: str = "judge") -> list[Weighted]:
    """The judges that a setting names.

    Args:
        spec: names of judges joined by " + ", each with an optional "WEIGHT*" in front.
        build: makes one judge from its name. method: who asks, for messages.

    Raises:
        CounterpointError: nothing between two plus signs, a weight of 0, or a name twice; and what ``build`` raises.

    >>> class Kind:
    ...     pass
    >>> [(each.name, each.weight) for each in weighted("verifier + 0.5*mine.py:brevity", lambda name: Kind())]
    [('verifier', 1.0), ('mine.py:brevity', 0.5)]
    """
    judges: list[Weighted] = []
    for part in re.split(r"\s\+\s", f" {spec} "):
        match = TERM.fullmatch(part.strip())
        if match is None:
            raise CounterpointError(
                f"{method}: judge={spec!r} names no judge between two plus signs; write for example "
                '"verifier + 0.5*mine.py:brevity"'
            )
        weight, name = float(match[1] or 1.0), match[2].strip()
        if not weight or not math.isfinite(weight):
            raise CounterpointError(
                f"{method}: judge={spec!r}: a weight of {weight:g} has no effect; leave '{name}' out"
            )
        if any(each.name == name for each in judges):
            raise CounterpointError(f"{method}: judge={spec!r} names '{name}' twice; give it one weight")
        judges.append(Weighted(name, build(name), weight))
    return judges
