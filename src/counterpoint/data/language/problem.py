"""One problem, whatever it came from: a prompt, perhaps a worked solution, an answer and a hint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from counterpoint.conversation import (
    Completion,
    Conversation,
    Message,
    Prompt,
    last_text,
    replies,
    turns,
)
from counterpoint.data.language.prompted import prompt_key

Turns = Literal["all", "last"]
"""Which of the assistant's turns are learnt."""


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        prompt: text of one user turn, or a list of messages: all that precedes the last turn of the assistant.
        solution: a reference completion as text, worked out or not; empty when there is none.
        answer: the final answer the scorer compares with; empty when there is none.
        hint: privileged context for a teacher; empty means the solution.
        meta: what a scorer may need besides.
        messages: the reference completion, where it is more than one text of the assistant; ``solution`` is its text.
        opening: of a whole conversation: how many messages of the prompt precede the assistant's first turn; None where
            the prompt is only read.
        origin: its file and row, for messages; empty where it was made.
    """

    prompt: Prompt
    solution: str = ""
    answer: str = ""
    hint: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    opening: int | None = None
    origin: str = field(default="", compare=False, repr=False)

    @property
    def reference(self) -> str:
        """The worked solution, or the answer where there is none, as text."""
        return self.solution or self.answer

    @property
    def completion(self) -> Completion:
        """What is learnt after the prompt: the messages of the reference, or its text."""
        return list(self.messages) or self.reference

    def example(self, learnt: Turns = "last") -> tuple[Prompt, Completion]:
        """Prompt and completion for supervised training.

        Args:
            learnt: "all" begins the completion at the assistant's first turn that may be learnt, "last" at its last one.

        >>> talk = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "+1?"}]
        >>> problem = Problem(talk, "3", opening=1)
        >>> [len(problem.example(learnt)[0]) for learnt in ("all", "last")]
        [1, 3]
        """
        if learnt == "last" and self.messages:
            last = max(at for at, message in enumerate(self.messages) if message["role"] == "assistant")
            given = turns(self.prompt)
            before = Conversation([*given, *self.messages[:last]], given.tools, given.options)
            return (before if last else self.prompt), list(self.messages[last:])
        if learnt == "all" and self.opening is not None and self.opening < len(self.prompt):
            given = turns(self.prompt)
            before = Conversation(given[: self.opening], given.tools, given.options)
            return before, [*given[self.opening :], *replies(self.completion)]
        return self.prompt, self.completion

    @property
    def question(self) -> str:
        """The prompt as one text: the last message of a conversation."""
        return last_text(self.prompt)

    def key(self) -> str:
        """The prompt, normalised, for finding duplicates and for splitting; of text without a prompt, the text."""
        return prompt_key(self.prompt) or prompt_key(self.solution)
