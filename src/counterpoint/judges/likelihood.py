"""A model that judges answers by its own likelihood: no reward model, no rubric (CREAM 2410.12735, section 3).

With a reference, the reward is log pi(y|x) - log ref(y|x), sums over tokens, the implicit reward of preference
learning; without one, the mean token log-probability. Only the order of answers to one prompt means anything. Mixing the
two up changes a ranking completely: the sum without a reference prefers short answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.data.language.answer import Answers
from counterpoint.data.language.problem import Problem
from counterpoint.judges.judge import Verdicts
from counterpoint.models.language.language import Language, Prompt
from counterpoint.models.language.likelihood import sequence_log_probs

Completions = Sequence[Sequence[str]] | Sequence[Sequence[list[int]]]


def answer_log_probs(
    model: Language, prompts: Sequence[Prompt], answers: Completions, *, at_once: int = 64
) -> tuple[Tensor, Tensor]:
    """Return (log-probabilities [P, N], lengths [P, N]) of N answers to each of P prompts, NaN and 0 where there are fewer.

    Args:
        model: whose likelihood.
        prompts: P prompts.
        answers: for each prompt its answers, texts or token ids.
        at_once: rows per forward pass.

    >>> from counterpoint.models.language.characters import tiny
    >>> sums, lengths = answer_log_probs(tiny(seed=0), ["1+1=", "2+2="], [["2", "3"], ["4"]])
    >>> sums.isnan().tolist(), lengths.tolist()
    ([[False, False], [False, True]], [[2, 2], [2, 0]])
    """
    repeated = [prompt for prompt, each in zip(prompts, answers) for _ in each]
    completions = [answer for each in answers for answer in each]
    flat, flat_lengths = sequence_log_probs(model, repeated, completions, at_once=at_once)  # type: ignore[arg-type]
    width = max((len(each) for each in answers), default=0)
    sums = torch.full((len(prompts), width), torch.nan, dtype=torch.float64)
    lengths = torch.zeros((len(prompts), width), dtype=torch.long)
    at = 0
    for row, each in enumerate(answers):
        mine = slice(at, at + len(each))
        sums[row, : len(each)], lengths[row, : len(each)] = flat[mine], flat_lengths[mine]
        at += len(each)
    return sums, lengths


def implicit_rewards(sums_PN: Tensor, reference_PN: Tensor) -> Tensor:
    """Return [P, N], log pi - log ref: the reward of a judge that has a reference. No beta, no length."""
    return sums_PN - reference_PN


def mean_rewards(sums_PN: Tensor, lengths_PN: Tensor) -> Tensor:
    """Return [P, N], the mean token log-probability: the reward of a judge that has no reference.

    >>> mean_rewards(torch.tensor([[-4.0, -3.0]]), torch.tensor([[4, 1]])).tolist()
    [[-1.0, -3.0]]
    """
    return sums_PN / lengths_PN.clamp(min=1)


class Likelihood:
    """The likelihood of a model as a judge: against a reference's, or by itself as the mean over tokens.

    Args:
        model: whose likelihood. reference: what it is compared with, if anything.
    """

    def __init__(self, model: Language, reference: Language | None = None) -> None:
        self.model, self.reference = model, reference

    def __call__(self, problems: Sequence[Problem], answers: Answers) -> Verdicts:
        """Rewards of the sampled tokens, as they were sampled."""
        prompts, ids = [p.prompt for p in problems], [[a["ids"] for a in row] for row in answers]
        sums, lengths = answer_log_probs(self.model, prompts, ids)
        if self.reference is None:
            rewards, how = mean_rewards(sums, lengths), "mean log-probability"
        else:
            rewards = implicit_rewards(sums, answer_log_probs(self.reference, prompts, ids)[0])
            how = "log-likelihood ratio"
        texts = [
            [f"{how} {value:.3f}" for value in row[: len(a)]] for row, a in zip(rewards.tolist(), answers)
        ]
        return Verdicts(rewards, texts)
