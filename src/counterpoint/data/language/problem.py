"""One problem, whatever it came from: a prompt, perhaps a worked solution, an answer and a hint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from counterpoint.data.language.prompted import Prompt, prompt_key


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        prompt: text of one user turn, or a list of messages.
        solution: a reference completion, worked out or not; empty when there is none.
        answer: the final answer the scorer compares with; empty when there is none.
        hint: privileged context for a teacher; empty means the solution.
        meta: what a scorer may need besides.
    """

    prompt: Prompt
    solution: str = ""
    answer: str = ""
    hint: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The worked solution, or the answer where there is none."""
        return self.solution or self.answer

    @property
    def question(self) -> str:
        """The prompt as one text: the last message of a conversation."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[-1]["content"]

    def key(self) -> str:
        """The prompt, normalised, for finding duplicates and for splitting."""
        return prompt_key(self.prompt)
