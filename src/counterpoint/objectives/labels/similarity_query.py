"""What an answered similarity query says: of three, the anchor and the positive are the pair most alike.

``l = t(A, P, N) + t(P, A, N)`` with ``t(a, p, n) = max(|a - p|^2 - |a - n|^2 + m, 0)`` (SIRL, arXiv 2301.00810, section on
training from similarity queries). Anchor and positive are exchangeable, so the third is pushed from both; embeddings stay
unnormalised, because a feature has a magnitude. Equals the labelled squared triplet of ``objectives.triplet`` on the three
rows of one query.

Legend: Q queries, D dimensions.
"""

from __future__ import annotations

from torch import Tensor

from counterpoint.errors import CounterpointError


def answered_query(
    anchor_QD: Tensor, positive_QD: Tensor, negative_QD: Tensor, margin: float = 1.0, both: bool = True
) -> Tensor:
    """Loss of each answered query.

    Args:
        anchor_QD, positive_QD: the pair a person found most alike, in either order.
        negative_QD: the third.
        margin: m, above 0: with 0 a constant embedding has no loss.
        both: add the term seen from the positive; False keeps half of what the answer says.

    Returns:
        [Q] losses; gradient flows through all three.

    Raises:
        CounterpointError: shapes that differ.

    >>> import torch
    >>> a, p, n = torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[1.5]])
    >>> answered_query(a, p, n, margin=0.5)          # 1 - 2.25 + 0.5 < 0, and 1 - 0.25 + 0.5
    tensor([1.2500])
    """
    if not anchor_QD.shape == positive_QD.shape == negative_QD.shape:
        raise CounterpointError(
            f"answered_query: anchors {tuple(anchor_QD.shape)}, positives {tuple(positive_QD.shape)} and negatives "
            f"{tuple(negative_QD.shape)}; expected three [Q, D] of one shape"
        )
    alike = (anchor_QD - positive_QD).square().sum(-1)
    loss = (alike - (anchor_QD - negative_QD).square().sum(-1) + margin).relu()
    if both:
        loss = loss + (alike - (positive_QD - negative_QD).square().sum(-1) + margin).relu()
    return loss
