"""Cosines that follow graded scores: in their order (CoSENT, as arXiv 2309.12871 restates it, eq. 2), or in their values (arXiv 1908.10084, section 3).

    cosent          log(1 + sum_{s_i > s_j} e^{(cos_j - cos_i)/tau})     one value for the whole batch
    cosine_error    (cos_i - s_i)^2

n local pairs, N pairs of all ranks, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.in_batch import unit


def cosent(
    first: Tensor,
    second: Tensor,
    scores: Tensor,
    *,
    temperature: float = 0.05,
    candidates: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """The batch's loss, given to each of its rows, so that their mean is it.

    Args:
        first, second: [n, D], the two sentences of each pair. scores: [n], how alike they are, in any unit.
        temperature: tau. candidates: (firsts, seconds, scores) of all ranks; default the local rows.

    Returns:
        [n], all the same; 0 where all scores are equal.

    >>> a, b = torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, 1.0]])      # cosines 0 and 1
    >>> [round(float(cosent(a, b, torch.tensor(s), temperature=1.0)[0]), 4) for s in ([0.0, 1.0], [1.0, 0.0])]
    [0.3133, 1.3133]
    """
    _check(first, second, scores)
    every_a, every_b, every_s = (first, second, scores) if candidates is None else candidates
    cosines = (unit(every_a) * unit(every_b)).sum(-1)
    above = every_s[:, None] > every_s[None, :]  # i should be nearer than j
    gaps = ((cosines[None, :] - cosines[:, None]) / temperature).masked_fill(~above, -torch.inf)
    value = torch.logsumexp(torch.cat([gaps.flatten(), gaps.new_zeros(1)]), 0)
    return value.expand(len(first)) + 0.0


def cosine_error(first: Tensor, second: Tensor, scores: Tensor) -> Tensor:
    """Squared error of each pair's cosine.

    Args:
        first, second: [n, D]. scores: [n], the cosines wanted.

    >>> cosine_error(torch.eye(2), torch.eye(2), torch.tensor([1.0, 0.5])).tolist()
    [0.0, 0.25]
    """
    _check(first, second, scores)
    return ((unit(first) * unit(second)).sum(-1) - scores).square()


def _check(first: Tensor, second: Tensor, scores: Tensor) -> None:
    if first.dim() != 2 or first.shape != second.shape or scores.shape != first.shape[:1]:
        raise CounterpointError(
            f"pairs of shapes {tuple(first.shape)} and {tuple(second.shape)} with scores {tuple(scores.shape)}; expected [n, D] twice, and [n]"
        )
