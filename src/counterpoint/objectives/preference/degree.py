"""Recognising a degree of preference: a classification of answers from which a known share of their key content was removed.

Of the abstract of SPO (2409.17791); the form is reconstructed: -log softmax(W h + b)_k for the degree k of a variant, or, as degrees are
ordered, the sum of M - 1 logistic losses of "at least degree j" (CORAL, 1901.07884, without the shared weight). N variants, M degrees.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def degree(logits_NM: Tensor, degree_N: Tensor, *, ordinal: bool = False) -> Tensor:
    """Return [N], the loss of each variant.

    Args:
        logits_NM: one a degree; under ``ordinal`` one a threshold, [N, M - 1].
        degree_N: 0 where nothing was removed, M - 1 where all key content was.

    >>> degree(torch.zeros(1, 4), torch.tensor([2])).item()      # log 4
    1.3862943649291992
    """
    if not ordinal:
        return cross_entropy(logits_NM, degree_N, reduction="none")
    reached = _reached(logits_NM, degree_N)
    return binary_cross_entropy_with_logits(logits_NM, reached, reduction="none").sum(1)


def recognised(logits_NM: Tensor, *, ordinal: bool = False) -> Tensor:
    """Return [N] int64, the degree that the logits name: the likeliest, or how many thresholds are passed.

    >>> recognised(torch.tensor([[2.0, 1.0, -3.0]]), ordinal=True).tolist()
    [2]
    """
    return (logits_NM > 0).sum(1) if ordinal else logits_NM.argmax(1)


def _reached(logits_NM: Tensor, degree_N: Tensor) -> Tensor:
    thresholds = torch.arange(1, logits_NM.shape[1] + 1, device=logits_NM.device)
    return (degree_N[:, None] >= thresholds).to(logits_NM.dtype)
