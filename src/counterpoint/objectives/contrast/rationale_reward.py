"""Rewards of rationales by the embeddings they make: contrast as a reward instead of a loss (GRACE, arXiv 2510.04506, eq. 13-17).

A text d with a rationale r has the embedding h = mean of its last hidden states, of length one. For rollout k of text i, with q_i the
query's embedding (or, without labels, that of one more rollout of the same text),

    R(i, k) = (sim(q_i, h_ik) - sum_m sim(q_i, n_im) + a mean_{l != k} sim(h_ik, h_il) - b cross(i, k)) / t

The paper's cross term, the mean over other texts j of max_l sim(q_i, h_jl), and its negatives n are the same for all rollouts of a text:
an advantage that subtracts the group's mean takes them away exactly. ``cross="rollout"``, the mean over j of sim(h_ik, q_j), is what the
unsupervised form has, and does not cancel. M rollouts, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from counterpoint.errors import CounterpointError

Cross = Literal["query", "rollout"]


@dataclass(frozen=True)
class Rewards:
    """The parts of a reward, [M] each, divided by the temperature; ``total`` is their weighted sum.

    Attributes:
        positive: likeness to the query. negative: likeness of query and negatives, summed; it lowers the reward.
        consistency: mean likeness to the text's other rollouts. cross: likeness across texts; it lowers the reward.
    """

    positive: Tensor
    negative: Tensor
    consistency: Tensor
    cross: Tensor
    total: Tensor


def contrastive_rewards(
    rollouts_MD: Tensor,
    queries_MD: Tensor,
    group_M: Tensor,
    *,
    negatives_MND: Tensor | None = None,
    temperature: float = 0.1,
    consistency: float = 0.2,
    cross: float = 0.2,
    cross_of: Cross = "query",
) -> Rewards:
    """Rewards of rollouts, without gradient.

    Args:
        rollouts_MD: embeddings of texts with their rationales. group_M: which text each is of.
        queries_MD: the query's embedding for each rollout, the same within a group.
        negatives_MND: N negatives of each rollout's query.
        temperature: divides every part. consistency, cross: weights.
        cross_of: "query", the paper's: the query against other texts' nearest rollouts; "rollout": the rollout against other texts'
            queries.

    Raises:
        CounterpointError: a temperature that is not above 0.

    >>> one, other = torch.eye(2)
    >>> rewards = contrastive_rewards(torch.stack([one, other]), torch.stack([one, one]), torch.tensor([0, 0]), temperature=1.0)
    >>> rewards.positive.tolist(), rewards.consistency.tolist(), rewards.cross.tolist()
    ([1.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    """
    if not temperature > 0:
        raise CounterpointError(
            f"temperature={temperature} of a reward; expected a number above 0, such as 0.1"
        )
    h, q = (functional.normalize(each.detach(), dim=-1) for each in (rollouts_MD, queries_MD))
    same_MM = group_M[:, None] == group_M[None, :]
    positive = (q * h).sum(-1)
    negative = torch.zeros_like(positive)
    if negatives_MND is not None:
        n = functional.normalize(negatives_MND.detach(), dim=-1)
        negative = (n * q[:, None]).sum((-1, -2))
    others_MM = same_MM & ~torch.eye(len(h), dtype=torch.bool, device=h.device)
    consistent = ((h @ h.T) * others_MM).sum(1) / others_MM.sum(1).clamp(min=1)
    groups_G, first = _groups(group_M)
    own_MG = group_M[:, None] == groups_G[None, :]
    if cross_of == "query":
        sims_MM = q @ h.T
        each_MG = (
            torch.stack(
                [sims_MM.masked_fill(~own_MG[:, g], -torch.inf).amax(1) for g in range(len(groups_G))], 1
            )
            if len(groups_G)
            else sims_MM
        )
    elif cross_of == "rollout":
        each_MG = h @ q[first].T
    else:
        raise CounterpointError(f"cross={cross_of!r}; expected 'query' or 'rollout'")
    across = each_MG.masked_fill(own_MG, 0.0).sum(1) / max(len(groups_G) - 1, 1)
    near, against, alike, across = (each / temperature for each in (positive, negative, consistent, across))
    return Rewards(near, against, alike, across, near - against + consistency * alike - cross * across)


def _groups(group_M: Tensor) -> tuple[Tensor, Tensor]:
    """The groups in order and the first rollout of each."""
    groups_G = group_M.unique()
    first = (group_M[None, :] == groups_G[:, None]).int().argmax(1) if len(groups_G) else groups_G
    return groups_G, first
