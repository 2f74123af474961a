"""Is this label true of this text? Binary cross-entropy over true and drawn labels together (CLESS, arXiv 2010.01061).

    l(x) = (1 / (g + b)) sum_{a in true + drawn} BCE(sigmoid(s(x, a)), y_a)

A mean over the g + b labels of a text, with neither noise correction nor sum (``noise_contrast`` has those). The labels may
be words of the text itself or its classes: the loss is the same, and so are the parameters. B texts, A labels each.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from counterpoint.errors import CounterpointError
from counterpoint.objectives.reduction import Loss


def label_match(
    scores: Tensor, targets: Tensor, valid: Tensor | None = None, positive_weight: float = 1.0
) -> Loss:
    """Loss of each text.

    Args:
        scores: [B, A] logits. targets: [B, A], 1 where the label is true. valid: [B, A] bool; None for all.
        positive_weight: factor of the terms of true labels; the mean is over labels, not over weights.

    Returns:
        Loss with values [B] and counts [B]: a text without any valid label has value 0 and does not count.

    >>> import torch
    >>> label_match(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).values
    tensor([0.6931])
    """
    if scores.shape != targets.shape or (valid is not None and valid.shape != scores.shape):
        raise CounterpointError(
            f"label_match: scores {tuple(scores.shape)}, targets {tuple(targets.shape)}"
            f"{'' if valid is None else f', valid {tuple(valid.shape)}'}; expected [B, A] all"
        )
    terms = binary_cross_entropy_with_logits(
        scores,
        targets.to(scores.dtype),
        pos_weight=scores.new_tensor(positive_weight),
        reduction="none",
    )
    if valid is None:
        return Loss(terms.mean(1))
    there = valid.to(scores.dtype)
    values = (terms * there).sum(1) / there.sum(1).clamp(min=1)
    return Loss(values, counts=valid.any(1).to(scores.dtype))
