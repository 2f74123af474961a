"""Privileged information in a prompt: what the teacher is shown and the student is not (arXiv 2602.04942).

The information stands in the system prompt, or, where the template has a place {prompt}, around the last message. The
student's prompt is the row's own: nothing has to be cut out again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from counterpoint.conversation import Conversation, Prompt, last_text, replies, reworded, turns
from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError
from counterpoint.pairs.demonstrations import check_template

__all__ = [
    "SYSTEM",
    "WRITE",
    "Kind",
    "actions",
    "check_template",
    "information",
    "require_information",
    "with_information",
]

Kind = Literal["context", "solution", "actions", "names"]

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
        kind: "context", the column ``privileged_context`` (or ``hint``); "solution", the reference; "actions", the calls of
            tools in the reference's messages, with their arguments; "names", the tools' names alone.

    >>> row = Problem("2+2", solution="two and two; 4", hint="count")
    >>> information(row), information(row, "solution")
    ('count', 'two and two; 4')
    """
    if kind == "context":
        return problem.hint
    return problem.reference if kind == "solution" else actions(problem, arguments=kind == "actions")


def actions(problem: Problem, *, arguments: bool = True) -> str:
    """The trace of a row's reference without its reasoning: a line for each call of a tool, "" where there is none.

    All turns of a whole conversation count, those in the prompt too.

    >>> call = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    >>> row = Problem("1+2=", messages=({"role": "assistant", "content": "I add", "tool_calls": [call]},))
    >>> actions(row), actions(row, arguments=False)
    ('add(a=1, b=2)', 'add')
    """
    lines = []
    for message in replies(problem.example("all")[1]):
        for call in message.get("tool_calls") or () if message["role"] == "assistant" else ():
            called = call.get("function", call)
            given = called.get("arguments") or {}
            given = _read(given) if isinstance(given, str) else given
            listed = ", ".join(f"{name}={json.dumps(value)}" for name, value in given.items())
            lines.append(f"{called.get('name')}({listed})" if arguments else str(called.get("name")))
    return "\n".join(lines)


def _read(arguments: str) -> Mapping[str, Any]:
    """Arguments that are JSON in text, as servers give them."""
    try:
        parsed = json.loads(arguments)
    except json.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, Mapping) else {"arguments": arguments}


def require_information(rows: Sequence[Problem], kind: Kind, method: str) -> None:
    """Raise unless some row has information; rows without any are learnt from without it.

    Raises:
        CounterpointError: no row has any.
    """
    if any(information(row, kind) for row in rows):
        return
    column = {
        "context": "a 'privileged_context' column",
        "solution": "a 'completion' or an 'answer' column",
    }.get(kind, "a 'completion' column of messages that call tools")
    other = "solution" if kind == "context" else "context"
    raise CounterpointError(
        f"{method}: none of {len(rows)} training problems has privileged information (information.source={kind}); give the "
        f"data {column}, or set information.source={other}"
    )


def with_information(prompt: Prompt, text: str, template: str = SYSTEM) -> Prompt:
    """The teacher's prompt: with the information in the system prompt, or where the template puts it.

    Args:
        prompt: the student's. text: the information; the prompt is left as it is when there is none.
        template: with {information}; with {prompt}, it replaces the last message, else it is a system message (added to
            the system message that is there).

    >>> with_information("2+2", "count", "{information}#{prompt}")
    'count#2+2'
    >>> with_information("2+2", "count", "Know: {information}")
    [{'role': 'system', 'content': 'Know: count'}, {'role': 'user', 'content': '2+2'}]
    """
    if not text:
        return prompt
    if "{prompt}" in template:
        return reworded(
            prompt, template.replace("{prompt}", last_text(prompt)).replace("{information}", text)
        )
    system = template.replace("{information}", text)
    before = turns(prompt)
    first, rest = before[0], before[1:]
    if first["role"] == "system":
        opening = [{**first, "content": f"{first['content']}\n\n{system}"}]
    else:
        opening = [{"role": "system", "content": system}, first]
    return Conversation([*opening, *rest], before.tools, before.options)
