"""Log-sum-exp statistics of dot-product similarities, in bounded memory. Never losses.

``lse_i = log sum_{j in include(i)} w_ij exp(scale_i <a_i, b_j>)``; a temperature is ``scale = 1 / tau``. Rows are used
as they are given: normalise outside. Axes: N rows, M columns, D width.
A row with no pair at all is ``-inf`` and gets zero gradient (never NaN).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.config import settings
from counterpoint.kernels.scores import full_precision, wide
from counterpoint.kernels.similarity.rules import Rule, allowed, check_rules, different, not_self, same, where
from counterpoint.kernels.similarity.stream import StreamPlan, stream_logsumexp
from counterpoint.kernels.similarity.table import stream_logsumexp_both, stream_logsumexp_self
from counterpoint.kernels.triton_path import fused

__all__ = [
    "Rule",
    "different",
    "key_mean_similarity",
    "not_self",
    "same",
    "similarity_logsumexp",
    "similarity_logsumexp_and_mean",
    "similarity_logsumexp_both",
    "similarity_logsumexp_views",
    "where",
]

WIDEST_FUSED = 256
"""Width up to which a fused kernel holds whole rows on the chip; beyond it the products outweigh the table's traffic."""


@full_precision
def similarity_logsumexp(
    a: Tensor,
    b: Tensor | None = None,
    *,
    scale: float | Tensor = 1.0,
    include: Sequence[Rule] = (),
    log_weights: Tensor | None = None,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return [N], the log-sum-exp of each row's similarities.

    Args:
        a: [N, D] rows.
        b: [M, D] columns; None for the rows themselves (remember ``include=[not_self(N)]``).
        scale: 1 / temperature: a number, a scalar tensor or [N]; differentiable.
        include: rules that a pair must all satisfy: ``not_self(N)``, ``same(labels)``, ``different(labels)``, ``where(table)``.
        log_weights: logarithm of a weight per column [M] or pair [N, M], inside the sum; differentiable.
        mask: [N] bool; other rows are skipped and return 0.
        weights: [N], the factors the loss will put on each row, up to a common factor (default: equal). Only a hint for
            speed: it lets the forward form the gradients. Never changes a result.

    >>> z = torch.eye(3)
    >>> similarity_logsumexp(z, include=[not_self(3)]).exp().tolist()
    [2.0, 2.0, 2.0]
    """
    return _one_way(a, b, scale, include, log_weights, mask, weights, with_mean=False)[0]


@full_precision
def similarity_logsumexp_both(
    a: Tensor, b: Tensor, *, scale: float | Tensor = 1.0, include: Sequence[Rule] = ()
) -> tuple[Tensor, Tensor]:
    """Return ([N], [M]): the log-sum-exp over each row and over each column of one table, as symmetric losses need.

    ``scale`` is a number or a scalar tensor.
    """
    _check(a, b, scale, include, None, None)
    if isinstance(scale, Tensor) and scale.dim():
        raise CounterpointError(
            f"a scale of shape {tuple(scale.shape)} was given; rows and columns share one table, so expected a number or []; "
            "with a temperature per row call similarity_logsumexp(a, b, scale=...) and similarity_logsumexp(b, a, scale=...)"
        )
    now = settings(a.device.type)
    if now.streams(_plain_bytes(a, b)):
        ways, rows, columns = _in_blocks(a, b)
        return ways.both(rows, columns, _scalar(scale, a), include, now.budget_bytes)
    logits = _logits(a, b, scale, include, None)
    return _logsumexp(logits, 1), _logsumexp(logits, 0)


@full_precision
def similarity_logsumexp_views(
    z: Tensor, num_views: int, *, scale: float | Tensor = 1.0, include: Sequence[Rule] = ()
) -> Tensor:
    """Return [M]: per instance, the log-sum-exp over all its views' rows together.

    Args:
        z: [V * M, D], view-major: row ``l * M + i`` is view l of instance i.
        num_views: V.
        scale: as in ``similarity_logsumexp``.
        include: the same, over the V * M rows.
    """
    if z.shape[0] % num_views:
        raise CounterpointError(
            f"{z.shape[0]} rows were given for {num_views} views; expected a multiple: [views * instances, D], view-major"
        )
    per_row = similarity_logsumexp(z, scale=scale, include=include)
    return _logsumexp(per_row.view(num_views, -1), 0)


@full_precision
def similarity_logsumexp_and_mean(
    a: Tensor,
    b: Tensor | None = None,
    *,
    scale: float | Tensor = 1.0,
    include: Sequence[Rule] = (),
    log_weights: Tensor | None = None,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the log-sum-exp [N] and, detached, each row's softmax-weighted mean similarity ``sum_j p_ij <a_i, b_j>`` [N].

    The mean is what per-sample temperatures are updated by. A row with no pair has mean 0.
    """
    value, mean = _one_way(a, b, scale, include, log_weights, mask, weights, with_mean=True)
    assert mean is not None
    return value, mean


@full_precision
def key_mean_similarity(
    a: Tensor,
    keys: Tensor,
    b: Tensor | None = None,
    b_keys: Tensor | None = None,
    *,
    exclude_self: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return, per row, the mean dot product with the columns of equal key, and how many there are: [N], [N].

    Sums columns per key first, so it costs N * D and forms no table. Rows without such a column have mean 0.

    >>> mean, count = key_mean_similarity(torch.eye(3), torch.tensor([0, 0, 1]), exclude_self=True)
    >>> mean.tolist(), count.tolist()
    ([0.0, 0.0, 0.0], [1.0, 1.0, 0.0])
    """
    columns, column_keys = (a, keys) if b is None else (b, b_keys)
    if column_keys is None or len(keys) != len(a) or len(column_keys) != len(columns):
        raise CounterpointError(
            f"{len(keys)} row keys for {len(a)} rows and {0 if column_keys is None else len(column_keys)} column keys for "
            f"{len(columns)} columns were given; expected one key each; for example key_mean_similarity(a, labels_a, b, labels_b)"
        )
    unique, slots = torch.unique(torch.cat([keys, column_keys]), return_inverse=True)
    row_slot, column_slot = slots[: len(a)], slots[len(a) :]
    rows, columns = wide(a), wide(columns)
    sums = rows.new_zeros(len(unique), rows.shape[1]).index_add(0, column_slot, columns)
    counts = rows.new_zeros(len(unique)).index_add(0, column_slot, rows.new_ones(len(columns)))
    total, count = (rows * sums[row_slot]).sum(1), counts[row_slot]
    if exclude_self:
        total, count = total - (rows * columns).sum(1), count - 1
    return torch.where(count > 0, total / count.clamp(min=1), 0.0), count


def _one_way(
    a: Tensor,
    b: Tensor | None,
    scale: float | Tensor,
    include: Sequence[Rule],
    log_weights: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    with_mean: bool,
) -> tuple[Tensor, Tensor | None]:
    columns = a if b is None else b
    _check(a, columns, scale, include, log_weights, mask)
    learns_table = log_weights is not None and log_weights.dim() == 2 and log_weights.requires_grad
    now = settings(a.device.type)
    if not now.streams(_plain_bytes(a, columns)) or learns_table:
        return _one_way_plain(a, columns, scale, include, log_weights, mask, with_mean)
    budget = now.budget_bytes
    triangle = columns is a and log_weights is None and mask is None and not with_mean
    if (
        triangle
        and not (isinstance(scale, Tensor) and scale.dim())
        and all(rule.symmetric for rule in include)
    ):
        ways, rows, _ = _in_blocks(a, a)
        return ways.itself(rows, _scalar(scale, a), include, budget), None
    ways, rows, columns = _in_blocks(a, columns)
    if mask is None:
        return ways.one_way(
            rows, columns, _scalar(scale, a), log_weights, StreamPlan(include, weights, budget, with_mean)
        )
    selected = mask.nonzero().squeeze(1)
    plan = StreamPlan(
        [r.take(selected) for r in include], None if weights is None else weights[selected], budget, with_mean
    )
    scale = scale[selected] if isinstance(scale, Tensor) and scale.dim() else scale
    log_weights = log_weights[selected] if log_weights is not None and log_weights.dim() == 2 else log_weights
    value, mean = ways.one_way(rows[selected], columns, _scalar(scale, a), log_weights, plan)

    def back(x: Tensor) -> Tensor:
        return x.new_zeros(len(a)).index_copy(0, selected, x)

    return back(value), None if mean is None else back(mean)


class _Ways(NamedTuple):
    """Kernels that work in blocks: rows against columns, both sides of one table, rows against themselves."""

    one_way: Callable[..., tuple[Tensor, Tensor | None]] = stream_logsumexp
    both: Callable[..., tuple[Tensor, Tensor]] = stream_logsumexp_both
    itself: Callable[..., Tensor] = stream_logsumexp_self


def _in_blocks(a: Tensor, b: Tensor) -> tuple[_Ways, Tensor, Tensor]:
    """Choose the kernels; widen rows and columns where the kernels do not widen blocks themselves."""
    if fused(a.device) and a.dtype == b.dtype and a.shape[1] <= WIDEST_FUSED:
        from counterpoint.kernels.similarity import fused as t

        return _Ways(t.fused_logsumexp, t.fused_logsumexp_both, t.fused_logsumexp_self), a, b
    return _Ways(), wide(a), wide(b)


def _one_way_plain(
    a: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    include: Sequence[Rule],
    log_weights: Tensor | None,
    mask: Tensor | None,
    with_mean: bool,
) -> tuple[Tensor, Tensor | None]:
    logits = _logits(a, columns, scale, include, log_weights)
    value = _logsumexp(logits, 1)
    mean: Tensor | None = None
    if with_mean:
        with torch.no_grad():
            probs = torch.where(logits == -math.inf, 0.0, (logits - _finite(value).unsqueeze(1)).exp())
            mean = (probs * (wide(a) @ wide(columns).T)).sum(1)
    if mask is not None:
        value, mean = torch.where(mask, value, 0.0), None if mean is None else torch.where(mask, mean, 0.0)
    return value, mean


def _plain_bytes(a: Tensor, b: Tensor) -> int:
    """Logits raw, scaled and masked, exponentials, and gradients in the backward."""
    return 6 * len(a) * len(b) * max(a.itemsize, 4)


def _scalar(scale: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(scale, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


def _logits(
    a: Tensor, b: Tensor, scale: float | Tensor, include: Sequence[Rule], log_weights: Tensor | None
) -> Tensor:
    rows = wide(a)
    if isinstance(scale, Tensor) and scale.dim() == 1:
        scale = scale.unsqueeze(1)
    logits = (rows @ wide(b).T) * scale
    if log_weights is not None:
        logits = logits + log_weights
    table = allowed(include, len(a), len(b), a.device)
    return logits if table is None else logits.masked_fill(~table, -math.inf)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x == -math.inf, 0.0, x)


def _logsumexp(logits: Tensor, axis: int) -> Tensor:
    """Log-sum-exp whose empty slices are -inf with zero gradient."""
    if logits.shape[axis] == 0:
        return logits.sum(axis) - math.inf
    value = logits.logsumexp(axis)
    empty = value.detach() == -math.inf
    if not bool(empty.any()):
        return value
    safe = torch.where(empty.unsqueeze(axis), 0.0, logits)
    return torch.where(empty, -math.inf, safe.logsumexp(axis))


def _check(
    a: Tensor,
    b: Tensor,
    scale: float | Tensor,
    include: Sequence[Rule],
    log_weights: Tensor | None,
    mask: Tensor | None,
) -> None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise CounterpointError(
            f"rows {tuple(a.shape)} and columns {tuple(b.shape)} were given; expected [N, D] and [M, D]; "
            "for example similarity_logsumexp(a.flatten(1), b.flatten(1), scale=1 / temperature)"
        )
    check_rules(include, len(a), len(b))
    if isinstance(scale, Tensor) and scale.shape not in ((), (len(a),)):
        raise CounterpointError(
            f"a scale of shape {tuple(scale.shape)} was given; expected a number, [] or [{len(a)}]"
        )
    if log_weights is not None and log_weights.shape not in ((len(b),), (len(a), len(b))):
        raise CounterpointError(
            f"log_weights of shape {tuple(log_weights.shape)} were given; expected [{len(b)}] or [{len(a)}, {len(b)}]"
        )
    if mask is not None and (mask.shape != (len(a),) or mask.dtype != torch.bool):
        raise CounterpointError(
            f"a mask {tuple(mask.shape)} {mask.dtype} was given; expected bool [{len(a)}]"
        )
