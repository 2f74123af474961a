"""Several teachers that answer as one, the mean of their probabilities. Waits for disco, which has several."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.scores import Scores, Sparse, dense
from counterpoint.models.tokens import Tokens
from counterpoint.teachers.answering import Prompts, Teacher


class Ensemble:
    """The weighted mean of several teachers' distributions, as dense logits [B, T, V].

    Args:
        teachers: at least one, all of one vocabulary.
        weights: of each; equal when None. They are normalised to sum to one.

    >>> from counterpoint.models.language.characters import tiny
    >>> from counterpoint.teachers.answering import Answering
    >>> one, other = tiny(seed=0), tiny(seed=1)
    >>> both = Ensemble([Answering(one), Answering(other)]).answer(["1+1="], one.completions(["2"]))
    >>> bool(torch.allclose(both.exp().sum(-1), torch.ones(1, 2)))
    True
    """

    def __init__(
        self,
        teachers: Sequence[Teacher[Scores | Sparse]],
        weights: Sequence[float] | None = None,
    ) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if not teachers or len(weights) != len(teachers) or min(weights) < 0 or sum(weights) == 0:
            raise CounterpointError(
                f"Ensemble got {len(teachers)} teachers and weights {weights}; it takes at least one teacher, and one "
                "non-negative weight each, e.g. Ensemble([one, other], [0.7, 0.3])"
            )
        self.teachers = list(teachers)
        self.weights = [each / sum(weights) for each in weights]

    def answer(self, prompts: Prompts, completions: Tokens, index: Tensor | None = None) -> Tensor:
        """Log of the mean probabilities [B, T, V]; padded tail entries of wider vocabularies are cut."""
        parts = []
        for teacher, weight in zip(self.teachers, self.weights):
            if weight == 0:
                continue
            scores = teacher.answer(prompts, completions, index)
            if isinstance(scores, Sparse):
                raise CounterpointError(
                    "an ensemble averages whole distributions; a sparse stored teacher has none"
                )
            parts.append(dense(scores).log_softmax(-1) + math.log(weight))
        width = min(part.shape[-1] for part in parts)
        return torch.logsumexp(torch.stack([part[..., :width] for part in parts]), 0)
