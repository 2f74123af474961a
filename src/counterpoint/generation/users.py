"""Users who answer an answer: a script, a model with a persona, a person at the terminal. What they write is no reward but text.

``user(prompts, completions, first) -> follow-ups``, "" where the user has nothing to say. N answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from counterpoint.conversation import Prompt, last_text
from counterpoint.errors import CounterpointError
from counterpoint.imported import imported

PERSONA = (
    "You are a user who talks to an assistant. {persona}\n\nYou wrote:\n{prompt}\n\nThe assistant replied:\n{completion}\n\n"
    "Write your next message to the assistant, and nothing else."
)
"""How a model is asked to be a user."""


class User(Protocol):
    """A noun with one verb."""

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str], first: int) -> list[str]:
        """Answer N answers.

        Args:
            prompts, completions: what was asked and answered.
            first: how many interactions came before these.
        """
        ...


@dataclass(frozen=True)
class Scripted:
    """A function ``follow_up(prompt, completion, number) -> text``, called once an interaction; ``number`` counts them from 0.

    >>> Scripted(lambda prompt, completion, number: "louder" if completion.islower() else "")(["x"], ["hm"], 0)
    ['louder']
    """

    function: Callable[[str, str, int], str]

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str], first: int) -> list[str]:
        """Call the function for every answer.

        Raises:
            CounterpointError: it gives something else than text.
        """
        replies = [
            self.function(last_text(prompt), completion, first + at)
            for at, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        for reply in replies:
            if not isinstance(reply, str):
                raise CounterpointError(
                    f"the user's script gave {reply!r}; expected text, '' where the user has nothing to say"
                )
        return replies


@dataclass(frozen=True)
class Modelled:
    """A language model that plays a user.

    Attributes:
        write: prompts to texts.
        persona: who the user is and likes.
    """

    write: Callable[[list[Prompt]], list[str]]
    persona: str

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str], first: int) -> list[str]:
        """Ask the model for the user's next message."""
        requests: list[Prompt] = [
            PERSONA.replace("{persona}", self.persona)
            .replace("{prompt}", last_text(prompt))
            .replace("{completion}", completion)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return [text.strip() for text in self.write(requests)]


@dataclass(frozen=True)
class AtTerminal:
    """A person, who reads answers and types what they would say; an empty line says nothing.

    Attributes:
        read: one line, given what is shown before it.
    """

    read: Callable[[str], str] = input

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str], first: int) -> list[str]:
        """Show every answer and read a line.

        Raises:
            CounterpointError: nobody is at a terminal, or the input ends.
        """
        if self.read is input and not sys.stdin.isatty():
            raise CounterpointError(
                "user=person reads from the terminal, and there is none here; run the command in one, or give "
                "--user script --user.function mine.py:follow_up, or --user model --user.persona TEXT"
            )
        replies = []
        for at, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            shown = f"\n[{first + at + 1}] {last_text(prompt)}\n--- reply\n{completion}\n--- you (empty: nothing): "
            try:
                replies.append(self.read(shown).strip())
            except EOFError:
                raise CounterpointError(
                    "the terminal's input ended; the same command goes on where it stopped"
                ) from None
        return replies


def script(spec: str) -> Scripted:
    """A user by "package.module:function" or "path/file.py:function".

    Raises:
        CounterpointError: nothing there that can be called.
    """
    function = imported(spec)
    if not callable(function):
        raise CounterpointError(f"user.function={spec!r} is a {type(function).__name__}; expected a function")
    return Scripted(function)
