"""A teacher that knows more than the student is shown: the same model, given privileged context.

The demonstration, the tool calls, the user's follow-up, the feedback: whatever the writer puts into the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic

from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.models.language.language import Prompt
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import Answer, Prompts, Teacher


class Hinted(Generic[Answer]):
    """Any teacher, given other prompts than the student.

    Completions are carried over as ids and aligned by their own positions, so contexts may have any length.

    Args:
        teacher: who answers.
        write: turns one row of the batch (a problem, an interaction) into the prompt with the hint.

    >>> from counterpoint.models.language.characters import tiny
    >>> from counterpoint.teachers.answering import Answering
    >>> student = tiny()
    >>> teacher = Hinted(Answering(student), lambda row: f"hint {row['hint']}. {row['prompt']}")
    >>> teacher.answer([{"prompt": "1+1=", "hint": "2"}], student.completions(["2"])).shape
    torch.Size([1, 2])
    """

    def __init__(self, teacher: Teacher[Answer], write: Callable[[Any], Prompt]) -> None:
        self.teacher, self.write = teacher, write

    def answer(self, prompts: Prompts, completions: Tokens, index: Tensor | None = None) -> Answer:
        """Scores at the completions' positions [B, T], as seen after the hinted prompts."""
        if isinstance(prompts, Tokens) or not isinstance(prompts, Sequence):
            raise CounterpointError(
                "a hinted teacher writes its prompts itself; give it the batch's rows, answer(batch.items, ...), "
                "not with tokens"
            )
        return self.teacher.answer([self.write(row) for row in prompts], completions, index)
