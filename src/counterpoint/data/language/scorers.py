"""Scorers: a reply's text and a problem's answer in, a number in [0, 1] out. No model, no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from counterpoint.errors import CounterpointError, nearest

Scorer = Callable[[str, str], float]
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)")
MARKS = (re.compile(r"answer\s*(?:is)?\s*:\s*(.+)", re.IGNORECASE), re.compile(r"####\s*(.+)"))
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


def number(text: str) -> Decimal | None:
    """The last number of a text, thousands separators and a closing point allowed.

    >>> number("so 1,200 - 70 = 1,130.")
    Decimal('1130')
    >>> number("none") is None
    True
    """
    found = NUMBER.findall(text)
    try:
        return Decimal(found[-1].replace(",", "").rstrip(".")) if found else None
    except InvalidOperation:
        return None


def final_answer(reply: str) -> str:
    """What a reply names as its answer: after the last "Answer:" or "####", inside \\\\boxed{}, or all of it.

    >>> final_answer("2+2 makes 4\\nAnswer: 4")
    '4'
    >>> final_answer(" yes ")
    'yes'
    """
    boxed = BOXED.findall(reply)
    if boxed:
        return boxed[-1].strip()
    marked = [(match.start(), match.group(1)) for mark in MARKS for match in mark.finditer(reply)]
    return (max(marked)[1] if marked else reply).strip()


def exact(reply: str, answer: str) -> float:
    """1 when the reply's final answer is the answer, but for case, outer space and a closing point.

    >>> exact("Answer: Paris.", "paris"), exact("Lyon", "Paris")
    (1.0, 0.0)
    """

    def plain(text: str) -> str:
        return " ".join(text.split()).strip(" .").casefold()

    return float(plain(final_answer(reply)) == plain(final_answer(answer)))


def numeric(reply: str, answer: str) -> float:
    """1 when the last number of the reply's final answer equals the answer's number.

    >>> numeric("That makes 12.0 apples.", "12"), numeric("I do not know", "12")
    (1.0, 0.0)
    """
    given, wanted = number(final_answer(reply)), number(final_answer(answer))
    return float(wanted is not None and given == wanted)


def last(reply: str, answer: str) -> float:
    """1 when what follows the reply's last semicolon, line break or space is the answer.

    >>> last("a:b,b:;ab", "ab"), last("it is ba", "ab")
    (1.0, 0.0)
    """
    parts = re.split(r"[;\s]+", reply.strip())
    return float(parts[-1].strip(".").casefold() == answer.strip().casefold())


SCORERS: dict[str, Scorer] = {"exact": exact, "number": numeric, "last": last}


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
