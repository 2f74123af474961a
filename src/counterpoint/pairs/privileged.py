"""Privileged information in a prompt: what the teacher is shown and the student is not (arXiv 2602.04942).

The information stands in the system prompt, or, where the template has a place {prompt}, around the last message. The
student's prompt is the row's own: nothing has to be cut out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from counterpoint.data.language.problem import Problem, Prompt
from counterpoint.errors import CounterpointError
from counterpoint.pairs.demonstrations import check_template, with_demonstration

__all__ = [
    "SYSTEM",
    "WRITE",
    "Kind",
    "check_template",
    "information",
    "require_information",
    "with_information",
]

Kind = Literal["context", "solution"]

SYSTEM = (
    "<privileged>\n{information}\n</privileged>\nOnly you can see what stands between these marks. Use it to reply well, "
    "work everything out in your own words, and never mention it."
)
"""The system prompt of the teacher."""
WRITE = (
    "{prompt}\n\nThis is a good reply to it:\n{information}\n\nWrite a short hint that would help somebody to find such a reply "
    "without having seen it."
)
"""How the model is asked for a hint of its own."""


def information(problem: Problem, kind: Kind = "context") -> str:
    """What a row knows beyond its prompt, "" where it knows nothing.

    Args:
        kind: "context", the column ``privileged_context`` (or ``hint``); "solution", the reference.

    >>> row = Problem("2+2", solution="two and two; 4", hint="count")
    >>> information(row), information(row, "solution")
    ('count', 'two and two; 4')
    """
    return problem.hint if kind == "context" else problem.reference


def require_information(rows: Sequence[Problem], kind: Kind, method: str) -> None:
    """Raise unless some row has information; rows without any are learnt from without it.

    Raises:
        CounterpointError: no row has any.
    """
    if any(information(row, kind) for row in rows):
        return
    column = "a 'privileged_context' column" if kind == "context" else "a 'completion' or an 'answer' column"
    other = "solution" if kind == "context" else "context"
    raise CounterpointError(
        f"{method}: none of {len(rows)} training problems has privileged information (information.source={kind}); give the "
        f"data {column}, or set information.source={other}"
    )


def with_information(problem: Problem, text: str, template: str = SYSTEM) -> Prompt:
    """The teacher's prompt: with the information in the system prompt, or where the template puts it.

    Args:
        problem: whose prompt. text: the information; the prompt is left as it is when there is none.
        template: with {information}; with {prompt}, it replaces the last message, else it is a system message (added to
            the system message that is there).

    >>> with_information(Problem("2+2"), "count", "{information}#{prompt}")
    'count#2+2'
    >>> with_information(Problem("2+2"), "count", "Know: {information}")
    [{'role': 'system', 'content': 'Know: count'}, {'role': 'user', 'content': '2+2'}]
    """
    if not text:
        return problem.prompt
    if "{prompt}" in template:
        return with_demonstration(problem, text, template.replace("{information}", "{demonstration}"))
    system = template.replace("{information}", text)
    if isinstance(problem.prompt, str):
        return [{"role": "system", "content": system}, {"role": "user", "content": problem.prompt}]
    first, rest = problem.prompt[0], problem.prompt[1:]
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n\n{system}"}, *rest]
    return [{"role": "system", "content": system}, first, *rest]
