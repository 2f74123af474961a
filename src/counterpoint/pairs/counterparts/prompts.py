"""Prompts about one picture with the answer as a hint, and about two: the words of a template around the pictures.

A template of two has the fields ``{image}``, ``{question}``, ``{answer}`` and the same with ``other_``; the target stands first.
"""

from __future__ import annotations

import re
from typing import Any

from counterpoint.conversation import Conversation, Prompt, pictures_of, reworded, turns
from counterpoint.data.language.problem import Problem

PICTURE = re.compile(r"(\{image\}|\{other_image\})")


def filled(template: str, **fields: str) -> str:
    """A template with its fields filled in; what they hold is not read again.

    >>> filled("{question}={answer}", question="{answer}?", answer="4")
    '{answer}?=4'
    """
    names = "|".join(map(re.escape, fields))
    return re.sub(r"\{(" + names + r")\}", lambda match: fields[match[1]], template)


def with_hint(problem: Problem, template: str) -> Prompt:
    """A problem's prompt, its last message in the words of a template with the fields ``{question}`` and ``{answer}``.

    >>> with_hint(Problem("2+2=", answer="4"), "{question} (it is {answer})")
    '2+2= (it is 4)'
    """
    return reworded(
        problem.prompt, filled(template, question=problem.question, answer=problem.answer or problem.solution)
    )


def beside(problem: Problem, other: Problem, template: str) -> Conversation:
    """One prompt about two problems of one picture each; what precedes the last message is the first one's.

    >>> picture = {"type": "image", "image": "a.png"}
    >>> one, two = (Problem([{"role": "user", "content": [picture, {"type": "text", "text": t}]}], answer="7") for t in "ab")
    >>> prompt = beside(one, two, "{image}{question}={answer} {other_image}{other_question}=?")
    >>> [part.get("text", part["type"]) for part in prompt[-1]["content"]]
    ['image', 'a=7 ', 'image', 'b=?']
    """
    before = turns(problem.prompt)
    shown = {"{image}": pictures_of(before)[-1], "{other_image}": pictures_of(turns(other.prompt))[-1]}
    fields = {
        "question": problem.question, "answer": problem.answer, "other_question": other.question,
        "other_answer": other.answer,
    }  # fmt: skip
    parts: list[dict[str, Any]] = []
    for piece in PICTURE.split(template):
        if piece in shown:
            parts.append(shown[piece])
        elif piece:
            parts.append({"type": "text", "text": filled(piece, **fields)})
    return Conversation([*before[:-1], {**before[-1], "content": parts}], before.tools, before.options)
