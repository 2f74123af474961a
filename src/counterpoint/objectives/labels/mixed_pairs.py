"""Supervised contrast for ordered targets, with pairs mixed out of the batch itself (arXiv 2309.16633, SupReMix).

    l_i = log D_i - (1/|A_i|) sum_{p in A_i} v_i.p / tau,   A_i = rows of y_i's value and mixed positives
    D_i = sum_{j != i} w_ij e^{v_i.v_j/tau} + sum_k w_ik e^{v_i.m_ik/tau} + sum_{jk} e^{v_i.m_ijk/tau}

A mixed negative m_ik = alpha v_i + (1 - alpha) v_k is a hard negative: near the anchor, of another value. A mixed positive
m_ijk of two rows on either side of y_i, within the window, has the value y_i exactly. Weights w = 1 + distance of values
push distant values further apart. Mixtures are linear, so only their similarities are formed, never they themselves.
Shapes: n anchors, N candidates, D width; P and Q, the most candidates below and above an anchor's value in its window.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import CounterpointError
from counterpoint.objectives.in_batch import own_rows, scale_of, unit
from counterpoint.objectives.reduction import Loss

PIECE = 2**22
"""Mixed positives whose similarities are held at once; more are computed again in the backward."""


def mixed_pairs(
    anchors: Tensor,
    values: Tensor,
    *,
    temperature: float = 0.5,
    alpha: Tensor | None = None,
    window: float | None = None,
    weighted: bool = True,
    detach: bool = True,
    tolerance: float = 0.0,
    candidates: Tensor | None = None,
    candidate_values: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """SupReMix; without ``alpha``, ``window`` and weights it is SupCon with the mean outside the logarithm.

    Args:
        anchors: [n, D], all views of all rows. values: [n], their targets.
        temperature: tau.
        alpha: [n, N], the anchor's share in its mixed negative with each candidate; None mixes no negatives.
        window: how far from the anchor's value the two parts of a mixed positive may be (strictly); None mixes none.
        weighted: multiply terms by 1 + the distance of values.
        detach: mixtures are constants; only the anchor learns from them.
        tolerance: values that differ by no more are equal.
        candidates: [N, D], all ranks' rows; default the anchors. candidate_values: [N].
        offset: where the anchors lie among the candidates.
        normalize: rows to length 1 first.

    Returns:
        Loss with values [n]; an anchor without any positive has loss 0. Statistics: ``has_positive``,
        ``mixed_positives`` (how many), [n].

    Raises:
        CounterpointError: shapes that do not fit.

    >>> z, y = torch.eye(3), torch.tensor([20.0, 20.0, 30.0])
    >>> [round(x, 4) for x in mixed_pairs(z, y, temperature=1.0, weighted=False).values.tolist()]    # SupCon
    [0.6931, 0.6931, 0.0]
    """
    if (candidates is None) != (candidate_values is None):
        raise CounterpointError("candidates and candidate_values go together and only one was given")
    if normalize:
        anchors, candidates = unit(anchors), None if candidates is None else unit(candidates)
    if candidates is None or candidate_values is None:
        candidates, candidate_values = anchors, values
    _check(anchors, values, candidates, candidate_values, alpha, temperature)
    own = own_rows(len(anchors), len(candidates), offset, anchors.device)
    scale = scale_of(temperature)
    source = candidates.detach() if detach else candidates
    real = anchors @ candidates.T * scale
    mixable = anchors @ source.T * scale if detach else real
    gap = (candidate_values[None, :] - values[:, None]).to(real.dtype)
    equal = gap.abs() <= tolerance
    itself = torch.zeros_like(equal).scatter_(1, own[:, None], True)
    positive = equal & ~itself
    total = (real + gap.abs().log1p() if weighted else real).masked_fill(itself, -math.inf).logsumexp(1)
    if alpha is not None:
        share = alpha.to(real.dtype).masked_fill(equal, 0.0)
        mixed = share * mixable.gather(1, own[:, None]) + (1 - share) * mixable
        if weighted:
            mixed = mixed + ((1 - share) * gap.abs()).log1p()
        total = torch.logaddexp(total, _logsumexp(mixed.masked_fill(equal, -math.inf)))
    pulled = torch.where(positive, real, 0.0).sum(1)
    count = positive.sum(1).to(real.dtype)
    mixed_count = torch.zeros_like(count)
    if window is not None:
        between, mixed_sum, mixed_count = _mixed_positives(mixable, gap, window, tolerance)
        total, pulled = torch.logaddexp(total, between), pulled + mixed_sum
    count = count + mixed_count
    losses = torch.where(count > 0, total - pulled / count.clamp(min=1), 0.0)
    return Loss(losses, stats={"has_positive": (count > 0).float(), "mixed_positives": mixed_count})


def _mixed_positives(
    mixable: Tensor, gap: Tensor, window: float, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp, sum and number of the mixed positives' similarities, each [n]."""
    below, above = _nearby(-gap, window, tolerance), _nearby(gap, window, tolerance)
    piece = max(1, PIECE // max(1, below.shape[1] * above.shape[1]))
    parts = []
    for start in range(0, len(gap), piece):
        rows = slice(start, start + piece)
        given = mixable[rows], gap[rows], below[rows], above[rows]
        several = len(gap) > piece and torch.is_grad_enabled()
        parts.append(checkpoint(_between, *given, use_reentrant=False) if several else _between(*given))
    lse, summed, count = (torch.cat(part) for part in zip(*parts, strict=True))
    return lse, summed, count


def _nearby(gap: Tensor, window: float, tolerance: float) -> Tensor:
    """Candidates with ``tolerance < gap < window`` as [n, P] indices, padded with -1."""
    inside = (gap > tolerance) & (gap < window)
    most = int(inside.sum(1).max()) if inside.numel() else 0
    ordered = torch.sort(inside.to(torch.uint8), dim=1, descending=True, stable=True)
    return torch.where(ordered.values[:, :most] > 0, ordered.indices[:, :most], -1)


def _between(mixable: Tensor, gap: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = below.clamp(min=0), above.clamp(min=0)
    down, up = -gap.gather(1, low), gap.gather(1, high)
    exists = (below >= 0)[:, :, None] & (above >= 0)[:, None, :]
    # The share of the lower row that makes the mixed value the anchor's; padding would divide by a gap of any sign.
    share = up[:, None, :] / torch.where(exists, down[:, :, None] + up[:, None, :], 1.0)
    mixed = share * mixable.gather(1, low)[:, :, None] + (1 - share) * mixable.gather(1, high)[:, None, :]
    lse = _logsumexp(mixed.masked_fill(~exists, -math.inf).flatten(1))
    return lse, torch.where(exists, mixed, 0.0).sum((1, 2)), exists.sum((1, 2)).to(mixed.dtype)


def _logsumexp(logits: Tensor) -> Tensor:
    """Over axis 1; an empty row is -inf with zero gradient."""
    if not logits.shape[1]:
        return logits.new_full((len(logits),), -math.inf)
    empty = (logits == -math.inf).all(1)
    return torch.where(empty, -math.inf, torch.where(empty[:, None], 0.0, logits).logsumexp(1))


def _check(
    anchors: Tensor, values: Tensor, candidates: Tensor, candidate_values: Tensor, alpha: Tensor | None,
    temperature: float,
) -> None:  # fmt: skip
    for name, rows, given in (("anchors", anchors, values), ("candidates", candidates, candidate_values)):
        if rows.dim() != 2 or given.shape != rows.shape[:1]:
            raise CounterpointError(
                f"{name} {tuple(rows.shape)} with values {tuple(given.shape)}; expected [n, D] and [n]: one number per row"
            )
    if len(candidates) < 2:
        raise CounterpointError("a contrast needs at least 2 rows and 1 was given; raise the batch size")
    if alpha is not None and alpha.shape != (len(anchors), len(candidates)):
        raise CounterpointError(
            f"alpha {tuple(alpha.shape)}; expected one share per pair, [{len(anchors)}, {len(candidates)}]"
        )
