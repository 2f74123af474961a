"""An answer to a problem, and what a text names as its answer. No model, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TypedDict

SCORERS = ("exact", "number", "last", "math", "choice", "tests")
"""How the answers of a file can be compared; ``judges.scorers`` holds the functions."""
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)")
MARKS = (re.compile(r"answer\s*(?:is)?\s*:\s*(.+)", re.IGNORECASE), re.compile(r"####\s*(.+)"))
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


class Answer(TypedDict):
    """One sampled answer; plain data, so that a durable stage can keep it.

    ``ids`` are exactly the sampled tokens, the end token included where it was reached: what is judged and trained on is
    what was sampled, whatever decoding and encoding again would make of it.
    """

    ids: list[int]
    text: str
    ended: bool


Answers = Sequence[Sequence[Answer]]
"""Several answers to each problem, [problems][answers]."""


def number(text: str) -> Decimal | None:
    """The last number of a text, thousands separators and a closing point allowed.

    >>> number("so 1,200 - 70 = 1,130.")
    Decimal('1130')
    >>> number("none") is None
    True
    """
    numbers = NUMBER.findall(text)
    try:
        return Decimal(numbers[-1].replace(",", "").rstrip(".")) if numbers else None
    except InvalidOperation:
        return None


def final_answer(completion: str) -> str:
    """What a completion names as its answer: after the last "Answer:" or "####", inside \\\\boxed{}, or all of it.

    >>> final_answer("2+2 makes 4\\nAnswer: 4")
    '4'
    >>> final_answer(" yes ")
    'yes'
    """
    boxed = BOXED.findall(completion)
    if boxed:
        return boxed[-1].strip()
    marked = [(match.start(), match.group(1)) for mark in MARKS for match in mark.finditer(completion)]
    return (max(marked)[1] if marked else completion).strip()
