"""Gradients formed before the loss is known: what the real factors of the loss leave to be done.

A gradient summed over rows can be formed in the forward when each row's factor in the loss is foreseen up to a common
one. The backward then scales it, and forms again only the rows that turned out otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor


def scale_owned(buffer: Tensor, factor: Tensor) -> None:
    """Scale a gradient in place by [1, 1] or [N, 1]; what counts for nothing becomes zero, whatever was in it."""
    if factor.numel() > 1:
        buffer.mul_(factor)
    elif float(factor) == 0.0:
        buffer.zero_()
    elif float(factor) != 1.0:
        buffer.mul_(float(factor))


def explain(upstream: Tensor, foreseen: Tensor | None, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Split the real factors [N, K] into ``factor * foreseen + rest``.

    Args:
        upstream: the real factors.
        foreseen: the assumed ones; None for none.
        shared: whether one factor must serve all rows (a gradient summed over them), else one per row.

    Returns:
        factor [1, 1] or [N, 1]; rest [N, K]; the rows where the rest is not mere rounding. A common factor that would
        explain less than half of the rows is 0: cancelling wrong sums costs both time and digits.
    """
    if foreseen is None:
        nothing = upstream.new_zeros(1, 1)
        return nothing, upstream, upstream.ne(0).any(1).nonzero().squeeze(1)
    tolerance = 4 * torch.finfo(upstream.dtype).eps
    norm = foreseen.square().sum(1, keepdim=True)
    ratio = torch.where(
        norm > 0,
        (upstream * foreseen).sum(1, keepdim=True) / norm.clamp(min=torch.finfo(norm.dtype).tiny),
        0.0,
    )

    def remainder(factor: Tensor) -> tuple[Tensor, Tensor]:
        rest = upstream - factor * foreseen
        return rest, (rest.abs() > tolerance * upstream.abs()).any(1)

    if not shared:
        rest, odd = remainder(ratio)
        return ratio, rest, odd.nonzero().squeeze(1)
    used = ratio[norm > 0]
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for candidate in (used.median(), used[used.abs().argmax()]) if len(used) else ():
        rest, odd = remainder(candidate.view(1, 1))
        if best is None or odd.sum() < best[2].sum():
            best = candidate.view(1, 1), rest, odd
    if best is None or int(best[2].sum()) * 2 > len(upstream):
        return explain(upstream, None, shared)
    return best[0], best[1], best[2].nonzero().squeeze(1)
