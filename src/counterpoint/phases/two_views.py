"""The same completions after two prompts, of which one knows more: what methods with a context-conditioned self share.

B completions, T positions. Completions are carried over as token ids and aligned by their own positions, so that prompts may
have any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from counterpoint.kernels.scores import Head, Scores
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models.language.language import Language, Prompt
from counterpoint.models.language.prompt_groups import answer_states
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import completion_scores
from counterpoint.training import Run

View = Literal["teacher", "student"]


@dataclass(frozen=True)
class Views:
    """Completions with a prompt for each view.

    Attributes:
        teacher, student: [B, P] prompts with and without what only the teacher is shown; of widths of their own.
        completions: [B, T].
        mask: [B, T] bool, the tokens that the model wrote: no padding, no reply of a tool.
        temperature: divides every logit; that of sampling.
    """

    teacher: Tokens
    student: Tokens
    completions: Tokens
    mask: Tensor
    temperature: float = 1.0

    @classmethod
    def of(
        cls,
        model: Language,
        teacher: Sequence[Prompt],
        student: Sequence[Prompt],
        completions: Tokens,
        mask: Tensor | None = None,
        temperature: float = 1.0,
    ) -> Views:
        """From prompts that are not tokenised; without a mask those count that the completions say the model wrote.

        >>> from counterpoint.models.language.characters import tiny
        >>> model = tiny(seed=0)
        >>> views = Views.of(model, ["2#1+1="], ["1+1="], model.completions(["2"]))
        >>> views.teacher.width, views.student.width, views.mask.shape
        (8, 6, torch.Size([1, 2]))
        """
        counted = completions.authored if mask is None else mask.bool()
        return cls(
            model.prompts(list(teacher)), model.prompts(list(student)), completions, counted, temperature
        )

    def __len__(self) -> int:
        return len(self.completions)

    def __getitem__(self, rows: Tensor | slice) -> Views:
        return replace(
            self,
            teacher=self.teacher[rows],
            student=self.student[rows],
            completions=Tokens(self.completions.ids[rows], self.completions.mask[rows]),
            mask=self.mask[rows],
        )

    def constant(self, model: Language, view: View, run: Run) -> Head:
        """A model's scores at the completions' positions [B, T], without gradient."""
        return completion_scores(model, getattr(self, view), self.completions, run.micro_batch_size)

    def scores(self, model: Language, view: View, run: Run) -> Head:
        """A model's scores at the completions' positions [B, T], with gradient, in the run's micro-batches."""
        prompts: Any = getattr(self, view)
        return model.scores(answer_states(model, prompts, self.completions, forward=run.forward))

    def log_probs(self, scores: Scores) -> Tensor:
        """[B, T] log-probabilities of the completions' tokens; 0 where the model did not write."""
        return log_probs(scores, self.completions.ids, temperature=self.temperature, mask=self.mask)
