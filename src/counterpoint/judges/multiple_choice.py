"""Which option of a multiple-choice question a completion names."""

from __future__ import annotations

import re

from counterpoint.data.language.answer import final_answer

LETTER = r"[A-J]"
NAMED = (
    re.compile(rf"\\boxed\{{\s*(?:\\text\{{)?\s*\(?({LETTER})\)?"),
    re.compile(rf"(?i:answer|option|choice)\s*(?i:is|:)*[:\s]*\**\(?({LETTER})\b\)?"),
    re.compile(rf"^\W*\(?({LETTER})\)?\W*$", re.IGNORECASE),
    re.compile(rf"^\W*\(?({LETTER})\s*[).:]\s"),
    re.compile(rf"\(({LETTER})\)"),
)
OPTION = re.compile(rf"^\s*\(?({LETTER})\s*[).:]\s+(.+?)\s*$", re.MULTILINE)


def option(completion: str, question: str = "") -> str | None:
    """The letter that a completion names, by itself or by its option's text in the question.

    >>> option("I think the answer is (B)."), option("C) because"), option("no idea")
    ('B', 'C', None)
    >>> option("Paris", "Where?\\nA. Lyon\\nB. Paris")
    'B'
    """
    for text in (final_answer(completion), completion):
        for pattern in NAMED:
            matches = pattern.findall(text)
            if matches:
                return matches[-1].upper()
    plain = final_answer(completion).strip(" .").casefold()
    letters = [letter for letter, text in OPTION.findall(question) if text.strip(" .").casefold() == plain]
    return letters[0] if len(letters) == 1 else None


def choice(completion: str, answer: str, question: str = "") -> float:
    """1 when the completion names the option that the answer names.

    >>> choice("Answer: B", "B"), choice("Answer: B", "(C) blue")
    (1.0, 0.0)
    """
    wanted = option(answer, question)
    return float(wanted is not None and option(completion, question) == wanted)
