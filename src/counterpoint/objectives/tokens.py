"""Tokens to sequences: masks, sums that padding cannot poison, and the named ways to average token losses.

Shapes: B sequences, T token positions. A mask is true (1) on tokens the objective counts and false on everything
else; masked positions may hold any value, infinities and NaN included, and never reach a sum.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.reduction import Loss

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]
AGGREGATIONS = ("token_mean", "sequence_mean", "sequence_sum", "constant")


def masked(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return ``values`` with zeros where the mask is false; unlike a product, ``-inf * 0`` cannot become NaN.

    >>> masked(torch.tensor([[1.0, float("-inf")]]), torch.tensor([[1, 0]])).tolist()
    [[1.0, 0.0]]
    """
    if values_BT.shape != mask_BT.shape:
        raise CounterpointError(
            f"token values have shape {tuple(values_BT.shape)} and their mask {tuple(mask_BT.shape)}; "
            "both need [sequences, tokens]: cut or pad the mask to the completion's tokens"
        )
    return torch.where(
        mask_BT.bool(), values_BT, torch.zeros((), dtype=values_BT.dtype, device=values_BT.device)
    )


def lengths(mask_BT: Tensor) -> Tensor:
    """Return [B], the number of counted tokens of each sequence."""
    return mask_BT.bool().sum(-1)


def sequence_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return [B], each sequence's sum over counted tokens: with token log-probabilities, log pi(y|x).

    >>> sequence_sum(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1, 1, 0]])).tolist()
    [3.0]
    """
    return masked(values_BT, mask_BT).sum(-1)


def sequence_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return [B], each sequence's mean over counted tokens; 0 for a sequence with none."""
    return sequence_sum(values_BT, mask_BT) / lengths(mask_BT).clamp(min=1)


def desensitised_sum(values_BT: Tensor, mask_BT: Tensor, public_B: Tensor, alpha: float) -> Tensor:
    """Return [B], sums in which tokens beyond the length both answers share count ``alpha`` (LD-DPO, 2409.06411).

    Args:
        values_BT: token log-probabilities.
        mask_BT: completion tokens, wherever they start in the row.
        public_B: the shorter length of the pair the row belongs to.
        alpha: 1 is the ordinary sum, 0 cuts the tail.

    >>> rows = torch.tensor([[1.0, 2.0, 4.0]])
    >>> desensitised_sum(rows, torch.ones(1, 3), torch.tensor([1]), alpha=0.5).tolist()
    [4.0]
    """
    position_BT = mask_BT.bool().long().cumsum(-1)
    weight_BT = torch.where(
        position_BT <= public_B[:, None], values_BT.new_tensor(1.0), values_BT.new_tensor(alpha)
    )
    return (masked(values_BT, mask_BT) * weight_BT).sum(-1)


def aggregate(
    values_BT: Tensor,
    mask_BT: Tensor,
    how: Aggregation = "token_mean",
    *,
    weights_BT: Tensor | None = None,
    max_length: int | None = None,
) -> Loss:
    """Turn token losses into per-sequence losses with their reduction.

    With w the optional weights (1 when absent, never differentiated) and m the mask, the reduced loss is

    ==================  =====================================================  ==================================
    ``token_mean``      sum(m w d) / max(sum(m w), 1), over the whole batch    every token weighs the same
    ``sequence_mean``   mean_b[ sum_t(m w d) / max(sum_t(m w), 1) ]            every sequence weighs the same
    ``sequence_sum``    mean_b[ sum_t(m w d) ]                                 the sequence's log-probability
    ``constant``        mean_b[ sum_t(m w d) ] / max_length                    no length bias (Dr. GRPO)
    ==================  =====================================================  ==================================

    Micro-batches and ranks add numerators and denominators before dividing, so ``token_mean`` is the mean over the
    *global* batch. A sequence with nothing to count contributes 0 and, except under ``token_mean``, stays in the mean.

    >>> d, m = torch.tensor([[2.0, 4.0], [9.0, 7.0]]), torch.tensor([[1, 1], [1, 0]])
    >>> [float(aggregate(d, m, how, max_length=2).mean()) for how in AGGREGATIONS]
    [5.0, 6.0, 7.5, 3.75]
    """
    if how not in AGGREGATIONS:
        raise CounterpointError(f"aggregation {how!r} is unknown; {nearest(str(how), AGGREGATIONS)}")
    weights_BT = torch.ones_like(values_BT) if weights_BT is None else weights_BT.detach().to(values_BT.dtype)
    weights_BT = masked(weights_BT, mask_BT)
    sums_B = (masked(values_BT, mask_BT) * weights_BT).sum(-1)
    units_B = weights_BT.detach().sum(-1)
    if how == "token_mean":
        return Loss(sums_B, counts=units_B)
    if how == "sequence_mean":
        return Loss(sums_B / units_B.clamp(min=1))
    if how == "sequence_sum":
        return Loss(sums_B)
    if not max_length or max_length < 1:
        raise CounterpointError(
            "aggregation 'constant' divides by a fixed length; give max_length=<longest allowed completion>"
        )
    return Loss(sums_B / max_length)


def log1mexp(a: Tensor) -> Tensor:
    """Return log(1 - exp(a)) for a < 0, exact at both ends, with a gradient that stays finite.

    >>> log1mexp(torch.tensor([-1e-6, -50.0], dtype=torch.float64)).exp().tolist()[0] < 1.1e-6
    True
    """
    near = a > -0.6931471805599453
    # Each branch sees only arguments it is exact on: a discarded branch must not send inf * 0 into the gradient.
    from_expm1 = torch.log(-torch.expm1(torch.where(near, a, -torch.ones_like(a))))
    from_log1p = torch.log1p(-torch.exp(torch.where(near, -torch.ones_like(a), a)))
    return torch.where(near, from_expm1, from_log1p)
