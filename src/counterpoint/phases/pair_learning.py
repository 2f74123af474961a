"""Learning from pairs of texts by preference and likelihood together (SPaR 2412.11605, SPECS 2510.25801): tokens, reference, loss.

    L = w L_DPO + lambda L_SFT,   L_DPO = -log sigmoid(beta [u(y_w) - u(y_l)]),   L_SFT = -(1 / |y_w|) log pi(y_w),   u = log pi - log ref.

B pairs, T token positions; of 2 B rows the chosen ones come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from counterpoint.data.language.problem import Problem
from counterpoint.models import passes
from counterpoint.models.language.language import Language
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.tokens import Replies, Tokens
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.preference import Pair, pairwise, reward_statistics
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import sequence_sum
from counterpoint.phases.self_training import SHARD
from counterpoint.training import Run


class TextPair(TypedDict):
    """A pair: the number of its problem, the better and the worse answer."""

    prompt: int
    chosen: str
    rejected: str


def pair_tokens(
    model: Language, problems: Sequence[Problem], pairs: Sequence[TextPair]
) -> tuple[Tokens, Replies]:
    """Prompts and answers of pairs as 2 B rows."""
    prompts = [problems[pair["prompt"]].prompt for pair in pairs]
    answers = [pair["chosen"] for pair in pairs] + [pair["rejected"] for pair in pairs]
    return model.rows(prompts * 2, answers, answers=2)


def pair_reference(
    run: Run, model: Language, problems: Sequence[Problem], pairs: Sequence[TextPair]
) -> Tensor:
    """[pairs, 2] summed log-probabilities under the model as it is, chosen and rejected, as a durable stage."""

    @torch.no_grad()
    def before(shard: Sequence[int]) -> list[list[float]]:
        rows: list[list[float]] = []
        for part in passes.over(shard, len(shard)):
            prompts, answers = pair_tokens(model, problems, [pairs[at] for at in part])
            sums = sequence_sum(completion_log_probs(model, prompts, answers), answers.authored)
            rows += torch.stack(sums.chunk(2), 1).tolist()
        return rows

    return torch.tensor(run.stage("reference", before, over=range(len(pairs)), size=SHARD))


def hybrid(
    logp: Tensor,
    answers: Replies,
    reference_B2: Tensor,
    *,
    beta: float,
    preference_weight: float = 1.0,
    sft_weight: float = 1.0,
) -> dict[str, Loss]:
    """The terms of a step.

    Args:
        logp: token log-probabilities [2 B, T]. answers: whose they are.
        reference_B2: the reference's sums, chosen and rejected.
        beta: of the preference. preference_weight, sft_weight: w and lambda; a term of weight 0 is left out.
    """
    sums, lengths = sequence_sum(logp, answers.authored), answers.authored.sum(1)
    pair = Pair(*sums.chunk(2), *reference_B2.unbind(1), *lengths.chunk(2))
    terms = {}
    if preference_weight:
        values = pairwise("sigmoid", pair, beta=beta)
        terms["preference"] = Loss(values, weight=preference_weight, stats=reward_statistics(pair, beta))
    if sft_weight:
        terms["sft"] = nll(pair.chosen, lengths.chunk(2)[0], "sequence_mean", weight=sft_weight)
    return terms
