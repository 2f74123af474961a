"""Distillation of a teacher's scores of candidate documents, instead of its vectors (DiSCo, arXiv 2410.14609).

For a query, s_i = <q, d_i> of N candidates by the student and S_i by the teacher. Any vector of the query that gives the teacher's
distribution over the candidates will do: equal vectors are sufficient, and not necessary. K teachers, B queries, N candidates.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.vocabulary import FORWARD, divergence

Fusion = Literal["mean", "max", "scaled"]


def score_distillation(student_BN: Tensor, teacher_BN: Tensor, temperature: float = 1.0) -> Tensor:
    """[B]: KL(softmax(S / tau) || softmax(s / tau)), the teacher a constant.

    >>> import torch
    >>> score_distillation(torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 6.0]])).tolist()   # a shift changes nothing
    [0.0]
    """
    _same(student_BN, teacher_BN)
    return divergence(student_BN, teacher_BN.detach(), FORWARD, temperature=temperature)


def margin_error(student_BN: Tensor, teacher_BN: Tensor) -> Tensor:
    """[B]: mean over all ordered pairs (i, j), i = j among them, of ((s_i - s_j) - (S_i - S_j))^2.

    It is twice the variance of s - S, which is how it is computed.

    >>> import torch
    >>> margin_error(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2)).tolist()
    [2.0]
    """
    _same(student_BN, teacher_BN)
    return 2 * (student_BN - teacher_BN.detach()).var(-1, correction=0)


def fused_scores(scores_KBN: Tensor, how: Fusion = "mean") -> Tensor:
    """[B, N] scores of K teachers of the same candidates as one teacher's.

    Args:
        how: "mean"; "max"; "scaled", the mean of each teacher's scores brought to [0, 1] over the candidates, then back to the mean of
            their ranges and lowest scores.

    Raises:
        CounterpointError: no teacher, or another way.

    >>> import torch
    >>> fused_scores(torch.tensor([[[1.0, 5.0]], [[3.0, 1.0]]])).tolist()
    [[2.0, 3.0]]
    """
    if scores_KBN.dim() != 3 or not len(scores_KBN):
        raise CounterpointError(
            f"scores of teachers have the shape {tuple(scores_KBN.shape)}; expected [K, B, N] with at least one teacher"
        )
    if how == "mean":
        return scores_KBN.mean(0)
    if how == "max":
        return scores_KBN.amax(0)
    if how == "scaled":
        low_KB1, high_KB1 = scores_KBN.amin(-1, keepdim=True), scores_KBN.amax(-1, keepdim=True)
        share_KBN = (scores_KBN - low_KB1) / (high_KB1 - low_KB1).clamp(min=1e-8)
        return share_KBN.mean(0) * (high_KB1 - low_KB1).mean(0) + low_KB1.mean(0)
    raise CounterpointError(f"fusion='{how}'; {nearest(how, get_args(Fusion))}")


def rescaled_scores(scores_BN: Tensor, reference_BN: Tensor) -> Tensor:
    """[B, N] scores of a teacher of another kind in the range of a reference's scores of the same query.

    S' = (S - min S) / (max S - min S + 1e-8) (max R - min R) + min R.

    >>> import torch
    >>> rescaled_scores(torch.tensor([[0.0, 1.0]]), torch.tensor([[10.0, 30.0]])).round().tolist()
    [[10.0, 30.0]]
    """
    low, high = scores_BN.amin(-1, keepdim=True), scores_BN.amax(-1, keepdim=True)
    bottom, top = reference_BN.amin(-1, keepdim=True), reference_BN.amax(-1, keepdim=True)
    return (scores_BN - low) / (high - low + 1e-8) * (top - bottom) + bottom


def _same(student_BN: Tensor, teacher_BN: Tensor) -> None:
    if student_BN.shape != teacher_BN.shape or not student_BN.shape[-1]:
        raise CounterpointError(
            f"the student scores {tuple(student_BN.shape)} and the teacher {tuple(teacher_BN.shape)}; both must score the same candidates, at "
            "least one"
        )
