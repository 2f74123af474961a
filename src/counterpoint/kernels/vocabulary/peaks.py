"""The positive part of the largest logit over a text's tokens, per vocabulary entry: what sparse text encoders pool.

    p_v = max_t u_t relu(z_tv),   z = h W^T + b

A text of T tokens has T V logits, of which at most one an entry counts. In blocks of the vocabulary none of them is held, and the
backward looks at the entries above 0 alone, of which sparse encoders have a few hundred: it costs no product over the vocabulary.
Sparse text encoders take its logarithm (SPLADE, arXiv 2109.10086, eq. 1). B texts, T positions, V entries, d width, N counted positions, E entries above 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import settings
from counterpoint.kernels.scores import Head, Scores, dense, full_precision, positions, vocabulary, wide


@full_precision
def positive_peak(scores_BT: Scores, mask_BT: Tensor) -> Tensor:
    """Return [B, V], 0 where no counted position has a logit above 0.

    The gradient goes to one position an entry, the first of equal ones; none where the peak is 0.

    Args:
        scores_BT: logits [B, T, V], or a head over hidden states [B, T, d].
        mask_BT: 0 on padding; a text without any counted position has peaks of 0.

    Raises:
        CounterpointError: a mask of another shape.

    >>> logits = torch.tensor([[[1.0, -1.0], [2.0, -3.0], [9.0, 9.0]]])
    >>> positive_peak(logits, torch.tensor([[1, 1, 0]])).tolist()
    [[2.0, 0.0]]
    """
    if positions(scores_BT) != mask_BT.shape or mask_BT.dim() != 2:
        raise CounterpointError(
            f"the scores are of positions {tuple(positions(scores_BT))} and the mask is {tuple(mask_BT.shape)}; expected [B, T] for both"
        )
    mask = mask_BT.bool()
    now = settings(mask.device.type)
    held = 3 * mask.numel() * vocabulary(scores_BT) * 4
    if isinstance(scores_BT, Head) and _linear(scores_BT) and now.streams(held):
        head = scores_BT
        return _Peaks.apply(head.hidden[mask], head.weight, head.bias, mask.sum(1), now.budget_bytes)
    logits = dense(scores_BT)
    if not mask.shape[1]:
        return logits.new_zeros(len(mask), vocabulary(scores_BT)) + 0 * logits.sum()
    return torch.where(mask[..., None], logits, 0.0).relu().max(1).values


def saturated_peak(scores_BT: Scores, mask_BT: Tensor) -> Tensor:
    """E_v = max_t u_t log(1 + relu(z_tv)), [B, V]: never below 0, and 0 for most entries.

    The logarithm is of the peak: it is monotone. Padding contributes 0, and a text without tokens is the vector of zeros.

    Args:
        scores_BT: logits [B, T, V], or a head over [B, T, d]. mask_BT: 0 on padding.

    >>> saturated_peak(torch.tensor([[[1.0, -1.0]]]), torch.ones(1, 1)).exp().tolist()
    [[2.0, 1.0]]
    """
    return positive_peak(scores_BT, mask_BT).log1p()


def _linear(head: Head) -> bool:
    return head.scale == 1.0 and head.softcap is None


class _Peaks(torch.autograd.Function):
    """Peaks of a head over the counted positions of all texts, [N, d] one after another."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor, budget: int
    ) -> Tensor:
        h = wide(hidden)
        rows, entries, wanted = len(counts), len(weight), any(ctx.needs_input_grad)
        peaks = h.new_zeros(rows, entries)
        tokens = torch.zeros(rows, entries, dtype=torch.int32, device=h.device)
        ends = counts.cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        block = max(1, budget // max(2 * len(h) * h.element_size(), 1))
        for first in range(0, entries, block):
            part = slice(first, first + block)
            over = None if bias is None else wide(bias[part])
            logits = linear(h, wide(weight[part]), over)
            for row, (start, end) in enumerate(zip(starts, ends)):
                if end > start:
                    own = logits[start:end]
                    top = own.amax(0).clamp(min=0)
                    peaks[row, part] = top
                    if wanted:  # which position it is matters where there is a gradient: at few entries
                        above = top.nonzero(as_tuple=True)[0]
                        tokens[row, first + above] = (own[:, above].argmax(0) + start).int()
        ctx.save_for_backward(hidden, weight, bias, peaks, tokens)
        ctx.budget = budget
        return peaks

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, peaks, tokens = ctx.saved_tensors
        row_E, entry_E = (peaks > 0).nonzero(as_tuple=True)
        grad_E, token_E = grad[row_E, entry_E], tokens[row_E, entry_E].long()
        into_hidden, into_weight, into_bias = (
            torch.zeros(each.shape, dtype=grad.dtype, device=grad.device) if wanted else None
            for each, wanted in zip((hidden, weight, bias), ctx.needs_input_grad)
        )
        block = max(1, ctx.budget // (2 * hidden.shape[1] * grad.element_size()))
        for first in range(0, len(grad_E), block):
            part = slice(first, first + block)
            g, at, entry = grad_E[part, None], token_E[part], entry_E[part]
            if into_hidden is not None:
                into_hidden.index_add_(0, at, g * wide(weight[entry]))
            if into_weight is not None:
                into_weight.index_add_(0, entry, g * wide(hidden[at]))
        if into_bias is not None:
            into_bias.index_add_(0, entry_E, grad_E)
        made = (
            None if each is None else each.to(like.dtype)
            for each, like in zip((into_hidden, into_weight, into_bias), (hidden, weight, bias))
        )  # fmt: skip
        return (*made, None, None)
