"""Interactions: what the user asked, what was answered, how the user went on; and the prompt in which that is known beforehand.

Every turn of the assistant that the user answers is one interaction, whatever the user says: a follow-up that has nothing to do with
the answer hardly changes its probability, and so teaches hardly anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from counterpoint.conversation import (
    Conversation,
    Prompt,
    last_text,
    replies,
    reworded,
    text_of,
    turns,
)
from counterpoint.data.language.problem import Problem

OFFLINE = (
    "{prompt}\n\n[In hindsight]\nA first reply to this fell short, and the user then wrote the message below. Reply again, so that it "
    "would not have been needed.\nThe user's later message: {follow_up}"
)
"""The hindsight prompt for logged answers."""
ONLINE = "{prompt}\n\n[In hindsight]\nA message that the user will write later; let it guide the reply.\n{follow_up}"
"""The hindsight prompt for the model's own answers."""


@dataclass(frozen=True)
class Interaction:
    """One exchange.

    Attributes:
        prompt: what came before the answer.
        completion: the answer's text.
        follow_up: what the user wrote next.
    """

    prompt: Prompt
    completion: str
    follow_up: str


def interactions(
    problems: Iterable[Problem], history: int | None = 5, longest: int | None = 4096
) -> list[Interaction]:
    """The interactions of rows, in their order.

    A whole conversation gives one for every turn of the assistant that a turn of the user follows. A row of a prompt, a
    completion and a column ``privileged_context`` (or ``hint``) is one whose follow-up that column holds.

    Args:
        problems: rows.
        history: messages that the model sees before an answer, counted from the last; a first system message stays. None
            keeps all.
        longest: answers of more characters are left out; None keeps all.

    >>> talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "HELLO "}, {"role": "user", "content": "softly"}]
    >>> interactions([Problem(talk)])[0].completion
    'HELLO'
    """
    rows: list[Interaction] = []
    for problem in problems:
        talk = turns(problem.prompt)
        whole = [*talk, *(replies(problem.completion) if problem.completion else ())]
        for at, message in enumerate(whole[:-1]):
            if message["role"] != "assistant" or whole[at + 1]["role"] != "user" or not at:
                continue
            before = Conversation(_recent(whole[:at], history), talk.tools, talk.options)
            # One turn of the user, written as text, stays text.
            prompt = problem.prompt if isinstance(problem.prompt, str) else before
            rows.append(
                Interaction(prompt, text_of([message]).rstrip(), str(whole[at + 1].get("content") or ""))
            )
        if problem.hint and problem.solution:
            rows.append(Interaction(problem.prompt, problem.solution.rstrip(), problem.hint))
    return [
        row
        for row in rows
        if row.completion and row.follow_up.strip() and (longest is None or len(row.completion) <= longest)
    ]


def _recent(messages: Sequence[dict[str, object]], history: int | None) -> list[dict[str, object]]:
    if history is None or len(messages) <= history:
        return list(messages)
    first = [messages[0]] if messages[0]["role"] == "system" else []
    left = list(messages[-history:])
    # A template begins with the user's turn.
    while len(left) > 1 and left[0]["role"] != "user":
        left.pop(0)
    return [*first, *left]


def in_hindsight(prompt: Prompt, follow_up: str, template: str = OFFLINE) -> Prompt:
    """The prompt with the follow-up in its last message; the answer itself is not in it, for it is what is scored.

    Args:
        template: with {prompt} and {follow_up}.

    >>> in_hindsight("hi", "softly", "{prompt}|{follow_up}")
    'hi|softly'
    """
    text = template.replace("{prompt}", last_text(prompt))
    return reworded(prompt, text.replace("{follow_up}", follow_up))
