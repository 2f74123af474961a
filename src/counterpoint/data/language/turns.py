"""Prompts of a second turn: an attempt with a critique of it, to be done better; and an attempt that is to be criticised."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoint.conversation import Prompt, last_text, reworded
from counterpoint.errors import CounterpointError

RETRY = (
    "{prompt}\n\nThis is an earlier attempt at it:\n{attempt}\n\nThis is what was said of the attempt:\n{feedback}\n\n"
    "Use it to do better, and answer the question anew."
)
"""The prompt of a second turn."""
CRITICISE = (
    "{prompt}\n\nThis is an attempt at it:\n{attempt}\n\nSay shortly what is wrong with the attempt, without the right answer.\n"
    "Critique: "
)
"""The prompt that a critique answers."""


def with_feedback(prompt: Prompt, attempt: str, feedback: str, template: str = RETRY) -> Prompt:
    """The prompt of a second turn: in the last message, when the prompt is a conversation.

    >>> with_feedback("2+2=", "5", "too much", "{attempt}:{feedback}#{prompt}")
    '5:too much#2+2='
    """
    return _filled(prompt, template, attempt, feedback)


def to_criticise(prompt: Prompt, attempt: str, template: str = CRITICISE) -> Prompt:
    """The prompt that asks for a critique of an attempt."""
    return _filled(prompt, template, attempt, "")


def check_templates(retry: str, criticise: str) -> None:
    """Raise unless both templates have their fields.

    >>> check_templates("{prompt}{attempt}", CRITICISE)
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: template='{prompt}{attempt}' has no field {feedback}; it needs {prompt} and {feedback}
    """
    for name, template, fields in (
        ("template", retry, ("prompt", "feedback")),
        ("critique_template", criticise, ("prompt", "attempt")),
    ):
        for field in fields:
            if "{" + field + "}" not in template:
                *first, last = ("{" + each + "}" for each in fields)
                raise CounterpointError(
                    f"{name}={template!r} has no field {{{field}}}; it needs {', '.join(first)} and {last}"
                )


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with its fields filled in one pass: what a part holds is never read as a field.

    >>> filled("{attempt}#{prompt}", {"attempt": "{prompt}", "prompt": "2+2="})
    '{prompt}#2+2='
    """
    text, at = "", 0
    while at < len(template):
        field = next((name for name in parts if template.startswith("{" + name + "}", at)), None)
        text += template[at] if field is None else parts[field]
        at += 1 if field is None else len(field) + 2
    return text


def _filled(prompt: Prompt, template: str, attempt: str, feedback: str) -> Prompt:
    parts = {"prompt": last_text(prompt), "attempt": attempt, "feedback": feedback}
    return reworded(prompt, filled(template, parts))
