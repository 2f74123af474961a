"""Pairwise ranking: an observed item should score above an item drawn from those not observed.

Legend: B triples, D dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CONSTANT = 1e-5


def bpr(positive_B: Tensor, negative_B: Tensor, constant: float = CONSTANT) -> Tensor:
    """Bayesian personalised ranking, bounded: ``-log(constant + sigmoid(positive - negative))`` per triple.

    With the constant the loss stays below ``-log(constant)`` (11.5) and its gradient fades for hopeless triples; with
    ``constant=0`` it is the plain logistic ranking loss (arXiv 1205.2618, section 4), computed without overflow.

    Args:
        positive_B: scores of the observed items. negative_B: scores of the drawn ones.
        constant: the addend of the graph-contrast papers' implementation, 1e-5.

    Returns:
        [B] losses.

    >>> bpr(torch.tensor([2.0, -100.0]), torch.tensor([0.0, 0.0]))
    tensor([ 0.1269, 11.5129])
    """
    if positive_B.shape != negative_B.shape:
        raise ValueError(
            f"scores of shape {tuple(positive_B.shape)} against {tuple(negative_B.shape)}; expected the same"
        )
    if constant == 0:
        return F.softplus(negative_B - positive_B)
    return -(constant + (positive_B - negative_B).sigmoid()).log()


def frobenius(*rows_BD: Tensor, size: int) -> Tensor:
    """Sum over the given blocks of rows of ``|rows|_F / size``: not squared, repeated rows counted as often as they occur.

    A norm does not split over items, so the whole batch gives one value; call it with the rows of the global batch.

    Args:
        rows_BD: embeddings gathered by the batch's ids. size: number of triples.

    Returns:
        [1], the regulariser. Its gradient at all-zero rows is 0.

    >>> frobenius(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), size=1)
    tensor([5.])
    """
    return torch.stack([torch.linalg.vector_norm(rows) for rows in rows_BD]).sum().reshape(1) / size


def dot(a_BD: Tensor, b_BD: Tensor) -> Tensor:
    """[B] dot products of matching rows."""
    return (a_BD * b_BD).sum(-1)
