"""An answer to a problem, and what a text names as its answer. No model, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal, TypedDict

SCORERS = ("exact", "number", "last", "math", "choice", "tests", "answer", "instructions")
"""How the answers of a file can be compared; ``judges.scorers`` holds the functions."""
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)")
MARKS = (
    re.compile(r"answer\s*(?:is)?\s*:\s*(.+)", re.IGNORECASE),
    re.compile(r"answer\s+is\s+(?!:)(.+?)(?=\.(?:\s|$)|$)", re.IGNORECASE | re.MULTILINE),
    re.compile(r"####\s*(.+)"),
)
BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
FORMULA = re.compile(r"\\[a-zA-Z]+|\^|\d\s*/\s*\d|[([]\s*-?[\d.]+\s*,")
JOINED = re.compile(r"\d(?:[-\u2013:]\d+|[./]\d+[./]\d+)\W*$")
"""The end of a date, a time, a range or a version: numbers that make a word together, of which the last says little."""
COUNTED = re.compile(r"[-+]?\W?(?:\d[\d,]*\.?\d*|\.\d+)\s*%?(?:\s+[^\W\d]+){0,3}\W*")


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
    """What a completion names as its answer: inside the last \\\\boxed{}, after the last "Answer:", "answer is" or "####", or all of it.

    >>> final_answer("2+2 makes 4\\nAnswer: 4"), final_answer("so 48 + 24 = 72\\n#### 72")
    ('4', '72')
    >>> final_answer("The answer is **72**. Right?"), final_answer(r"hence \\boxed{\\frac{1}{2}}")
    ('72', '\\\\frac{1}{2}')
    >>> final_answer(" yes ")
    'yes'
    """
    inside = [_balanced(completion, match.end()) for match in BOXED.finditer(completion)]
    closed = [text for text in inside if text is not None]
    if closed:
        return closed[-1].strip()
    marked = [(match.start(), match.group(1)) for mark in MARKS for match in mark.finditer(completion)]
    return max(marked)[1].strip(" \t*$") if marked else completion.strip()


def answer_kind(answer: str) -> Literal["number", "math", "exact"]:
    """How an answer is compared: by its value where it is a number (perhaps with a unit, or at the end of a sentence), as mathematics
    where it is a formula, else as text; dates, times and the like are text.

    >>> [answer_kind(text) for text in ("72", "$1,200", "12 apples", "It is 0.", r"\\frac{1}{2}", "(1, 2)", "Paris in 1945 was free")]
    ['number', 'number', 'number', 'number', 'math', 'math', 'exact']
    >>> [answer_kind(text) for text in ("2025-10-04", "at 13:08", "10/04/2025", "1.2.3", r"\\sqrt{3}+5-4", "-4", "5+7=12")]
    ['exact', 'exact', 'exact', 'exact', 'math', 'number', 'number']
    """
    named = final_answer(answer)
    if COUNTED.fullmatch(named):
        return "number"
    joined = JOINED.search(named)
    if joined and not FORMULA.search(named[: joined.start()]):
        return "exact"
    if FORMULA.search(named):
        return "math"
    ends = NUMBER.findall(named)
    return "number" if ends and named.rstrip(" .%").endswith(ends[-1].rstrip(".,")) else "exact"


def _balanced(text: str, start: int) -> str | None:
    """What stands before the brace that closes one opened before ``start``; None where none does."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[start:at]
    return None
