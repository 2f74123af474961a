"""Hard negatives: documents that a teacher ranks high, without those it ranks so high that they may well be relevant.

P documents of a pool, B queries, N negatives of each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Pool:
    """Of one query.

    Attributes:
        documents: [P], the best first. scores: [P], the teacher's.
        highest: the highest score of the ranks that were kept, those of relevant documents among them.
    """

    documents: Tensor
    scores: Tensor
    highest: float


def pool_of(
    documents_R: Tensor, scores_R: Tensor, relevant: Collection[int], *, skip: int = 10, keep: int = 950
) -> Pool:
    """The pool of a ranking: ranks ``skip`` + 1 to ``skip`` + ``keep``, without the relevant documents.

    Args:
        documents_R: ranked, the best first. scores_R: of them. relevant: documents that are no negatives.

    Raises:
        CounterpointError: nothing is left.

    >>> pool_of(torch.tensor([7, 3, 5, 1]), torch.tensor([4.0, 3.0, 2.0, 1.0]), {5}, skip=1).documents.tolist()
    [3, 1]
    """
    part = slice(skip, skip + keep)
    documents, scores = documents_R[part], scores_R[part]
    left = torch.tensor([each not in relevant for each in documents.tolist()], dtype=torch.bool)
    if not left.any():
        raise CounterpointError(
            f"a ranking of {len(documents_R)} documents leaves no negative after the first {skip} and the relevant ones; lower pool.skip, or "
            "give a larger corpus"
        )
    return Pool(documents[left], scores[left], float(scores.max()))


def choose(sizes_B: Tensor, uniform_BP: Tensor, count: int) -> Tensor:
    """[B, N] positions in each query's pool, drawn uniformly: without repeats where the pool is large enough, else with.

    Args:
        sizes_B: of the pools. uniform_BP: a draw for every document of the largest pool, and at least N of them. count: N.

    >>> choose(torch.tensor([3, 1]), torch.tensor([[0.5, 0.1, 0.9], [0.2, 0.3, 0.4]]), 2).tolist()
    [[1, 0], [0, 0]]
    """
    outside = torch.arange(uniform_BP.shape[1]) >= sizes_B[:, None]
    apart_BN = uniform_BP.masked_fill(outside, torch.inf).argsort(1)[:, :count]
    again_BN = (uniform_BP[:, :count] * sizes_B[:, None]).long().clamp(max=sizes_B[:, None] - 1)
    return torch.where((sizes_B >= count)[:, None], apart_BN, again_BN)
