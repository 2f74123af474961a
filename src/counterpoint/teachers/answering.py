"""A language model, or any copy of one, as a teacher: what it would have put at every position of given completions.

A thin layer over the copies: ``Answering(Frozen(model))``, ``Answering(Ema(model, 0.98))``, or a model itself. B rows, T
completion positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Head, Scores, Sparse
from counterpoint.kernels.vocabulary import log_probs
from counterpoint.models import sharding
from counterpoint.models.language.language import Language, Prompt
from counterpoint.models.language.prompt_groups import answer_states
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.copies import Copied

Prompts = Tokens | Sequence[Any]
"""Left-padded prompts, or one thing per row that the teacher can turn into a prompt."""
Answer = TypeVar("Answer", bound=Scores | Sparse, covariant=True)


class Teacher(Protocol[Answer]):
    """A noun with one verb. ``Teacher[Head]`` answers with hidden states and a head, ``Teacher[Sparse]`` sparsely."""

    def answer(self, prompts: Prompts, completions: Tokens, index: Tensor | None = None) -> Answer:
        """Score every completion position.

        Args:
            prompts: tokenised or not; [B].
            completions: [B, T] right-padded.
            index: [B] rows of the data, for teachers that were written down beforehand.

        Returns:
            Scores at the positions [B, T]; position t is about completion token t. Without gradient.
        """
        ...


class Answering:
    """A language model that answers: hidden states with its head, or log-probabilities of the completions' tokens.

    Args:
        model: a language model, or a copy of one (``Frozen``, ``Ema``, ``Past``).
        at_once: rows that go through it at a time; None takes all.

    >>> from counterpoint.models.language.characters import tiny
    >>> from counterpoint.teachers.frozen import Frozen
    >>> student = tiny()
    >>> teacher = Answering(Frozen(student))
    >>> teacher.answer(["1+1="], student.completions(["2"])).vocabulary == student.head.weight.shape[0]
    True
    """

    def __init__(self, model: Language | Copied[Language], *, at_once: int | None = None) -> None:
        self.model = model.model if isinstance(model, Copied) else model
        self.at_once = at_once

    def answer(self, prompts: Prompts, completions: Tokens, index: Tensor | None = None) -> Head:
        """Hidden states and head at the completions' positions [B, T]."""
        return completion_scores(self.model, prompts, completions, self.at_once)

    def log_probs(self, prompts: Prompts, completions: Tokens) -> Tensor:
        """[B, T] log-probabilities at temperature 1 of the completions' tokens; 0 on padding."""
        answer = self.answer(prompts, completions)
        return log_probs(answer, completions.ids, mask=completions.authored)


def completion_scores(
    model: Language, prompts: Prompts, completions: Tokens, at_once: int | None = None
) -> Head:
    """Run a model over prompts and completions without gradient or dropout: its head at the positions [B, T].

    >>> from counterpoint.models.language.characters import tiny
    >>> model = tiny()
    >>> completion_scores(model.eval(), ["1+1="], model.completions(["2"])).shape
    torch.Size([1, 2])
    """
    tokens = prompts if isinstance(prompts, Tokens) else model.prompts(list[Prompt](prompts))
    if len(tokens) != len(completions):
        raise CounterpointError(
            f"{len(tokens)} prompts for {len(completions)} completions; give one prompt a completion"
        )
    with torch.no_grad():
        return model.scores(answer_states(model, tokens, completions, forward=_in_pieces(at_once))).detach()


def _in_pieces(size: int | None) -> Callable[..., Tensor]:
    def forward(model: Language, ids: Tensor, mask: Tensor, **given: Any) -> Tensor:
        step = size or max(len(ids), 1)
        parts = sharding.most(-(-max(len(ids), 1) // step), model)  # pieces behind the last row have none
        rows = range(0, parts * step, step)
        return torch.cat([model(ids[at : at + step], mask[at : at + step], **given) for at in rows])

    return forward
