"""Relations among a text's tokens, which a student of any width can share with its teacher (AutoDistil, arXiv 2201.12507, eqs. 4-6).

    R_i = softmax(A_i A_i^T / sqrt(d_r) + M)   of queries, keys, values (i = 1..3), split into H relation heads of size d_r
    L = sum_i beta_i mean (R_i^T - R_i^S)^2

B texts, L tokens, E features of all heads together (of student and teacher they may differ), H relation heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest

HIDDEN = -10000.0
"""What is added to the scores of padding."""


def relations(features_BLE: Tensor, mask_BL: Tensor, heads: int) -> Tensor:
    """[B, H, L, L] scores before the softmax; features that do not fill the last head are dropped.

    Raises:
        CounterpointError: fewer features than heads.

    >>> relations(torch.tensor([[[2.0], [1.0]]]), torch.ones(1, 2), 1)[0, 0].tolist()
    [[4.0, 2.0], [2.0, 1.0]]
    """
    size = features_BLE.shape[2] // heads
    if size < 1:
        raise CounterpointError(
            f"{features_BLE.shape[2]} features for {heads} relation heads; give at most as many heads as features"
        )
    split = features_BLE[:, :, : heads * size].unflatten(2, (heads, size)).transpose(1, 2)
    hidden = (1 - mask_BL.to(split.dtype))[:, None, None] * HIDDEN
    return split @ split.transpose(2, 3) / size**0.5 + hidden


def relation_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask_BL: Tensor,
    heads: int,
    kind: str = "softmax",
    weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """[B], the mean over heads and all pairs of tokens, padding included, summed over queries, keys and values.

    Args:
        student, teacher: [B, L, E] queries, keys and values. The teacher is a constant.
        kind: as for ``score_loss``. weights: beta.
    """
    terms = [
        weight * score_loss(relations(mine, mask_BL, heads), relations(theirs, mask_BL, heads), kind)
        for weight, mine, theirs in zip(weights, student, teacher, strict=True)
    ]
    return torch.stack(terms).sum(0)


def score_loss(student_BHLL: Tensor, teacher_BHLL: Tensor, kind: str = "softmax") -> Tensor:
    """[B], the mean squared difference of relations, from their scores; the teacher's are constant.

    Args:
        kind: "softmax" compares relations as in the paper, "raw" the scores, as the authors' program does.

    Raises:
        CounterpointError: another kind.
    """
    if kind not in ("softmax", "raw"):
        raise CounterpointError(f"relation='{kind}'; {nearest(kind, ['softmax', 'raw'])}")
    own, other = student_BHLL, teacher_BHLL.detach()
    if kind == "softmax":
        own, other = own.softmax(3), other.softmax(3)
    return ((own - other) ** 2).mean((1, 2, 3))
