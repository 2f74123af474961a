"""A teacher that knows more than the student is shown: the same voice, asked with privileged context.

The demonstration, the tool calls, the user's follow-up, the feedback: whatever the writer puts into the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Scores, Sparse
from counterpoint.models.language.language import Prompt
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.shadow import Asked, Teacher


class Hinted:
    """Any teacher, asked with other prompts than the student.

    Completions are carried over as ids and aligned by their own positions, so contexts may have any length.

    Args:
        teacher: whose voice.
        write: turns one row of what is asked (a problem, an interaction) into the prompt with the hint.

    >>> from counterpoint.models.language.characters import tiny
    >>> from counterpoint.teachers.frozen import Frozen
    >>> student = tiny()
    >>> teacher = Hinted(Frozen(student), lambda row: f"hint {row['hint']}. {row['prompt']}")
    >>> teacher.answer([{"prompt": "1+1=", "hint": "2"}], student.completions(["2"])).shape
    torch.Size([1, 2])
    """

    def __init__(self, teacher: Teacher, write: Callable[[Any], Prompt]) -> None:
        self.teacher, self.write = teacher, write

    def answer(self, asked: Asked, completions: Tokens, index: Tensor | None = None) -> Scores | Sparse:
        """Scores at the completions' positions [B, T], as seen after the hinted prompts."""
        if isinstance(asked, Tokens) or not isinstance(asked, Sequence):
            raise CounterpointError(
                "a hinted teacher writes its prompts itself; ask it with the batch's rows, answer(batch.items, ...), "
                "not with tokens"
            )
        return self.teacher.answer([self.write(row) for row in asked], completions, index)
