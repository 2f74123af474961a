"""Log-sum-exp statistics of dot-product similarities, in bounded memory. Never losses.

``lse_i = log sum_{j in include(i)} w_ij exp(scale_i <a_i, b_j>)``; a temperature is ``scale = 1 / tau``. Rows are used
as they are given: normalise outside. Axes: N rows, M columns, D width.
A row with no pair at all is ``-inf`` and gets zero gradient (never NaN).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.pairs_rules import Rule, allowed, check_rules, different, not_self, same, where
from counterpoint.kernels.scores import full_precision, wide

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

EVERYTHING = slice(None)


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
    columns = _columns(a, b)
    _check(a, columns, scale, include, log_weights, mask)
    logits = _logits(a, columns, scale, include, log_weights)
    value = _logsumexp(logits, 1)
    return value if mask is None else torch.where(mask, value, 0.0)


@full_precision
def similarity_logsumexp_both(
    a: Tensor,
    b: Tensor,
    *,
    scale: float | Tensor = 1.0,
    include: Sequence[Rule] = (),
    weights: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ([N], [M]): the log-sum-exp over each row and over each column of one table, as symmetric losses need.

    ``scale`` is a number or a scalar tensor. ``weights`` is the speed hint of ``similarity_logsumexp`` for rows and columns.
    """
    _check(a, b, scale, include, None, None)
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
        scale, include: as in ``similarity_logsumexp``, over the V * M rows.
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
    columns = _columns(a, b)
    _check(a, columns, scale, include, log_weights, mask)
    logits = _logits(a, columns, scale, include, log_weights)
    value = _logsumexp(logits, 1)
    with torch.no_grad():
        plain = wide(a) @ wide(columns).T
        probs = torch.where(logits == -math.inf, 0.0, (logits - _finite(value).unsqueeze(1)).exp())
        mean = (probs * plain).sum(1)
    if mask is not None:
        value, mean = torch.where(mask, value, 0.0), torch.where(mask, mean, 0.0)
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
    known, slots = torch.unique(torch.cat([keys, column_keys]), return_inverse=True)
    row_slot, column_slot = slots[: len(a)], slots[len(a) :]
    rows, columns = wide(a), wide(columns)
    sums = rows.new_zeros(len(known), rows.shape[1]).index_add(0, column_slot, columns)
    counts = rows.new_zeros(len(known)).index_add(0, column_slot, rows.new_ones(len(columns)))
    total, count = (rows * sums[row_slot]).sum(1), counts[row_slot]
    if exclude_self:
        total, count = total - (rows * columns).sum(1), count - 1
    return torch.where(count > 0, total / count.clamp(min=1), 0.0), count


def _columns(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else b


def _logits(
    a: Tensor, b: Tensor, scale: float | Tensor, include: Sequence[Rule], log_weights: Tensor | None
) -> Tensor:
    rows = wide(a)
    if isinstance(scale, Tensor) and scale.dim() == 1:
        scale = scale.unsqueeze(1)
    logits = (rows @ wide(b).T) * scale
    if log_weights is not None:
        logits = logits + log_weights
    table = allowed(include, EVERYTHING, EVERYTHING)
    return logits if table is None else logits.masked_fill(~table, -math.inf)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x == -math.inf, 0.0, x)


def _logsumexp(logits: Tensor, axis: int) -> Tensor:
    """Log-sum-exp whose empty slices are -inf with zero gradient."""
    if logits.shape[axis] == 0:
        return logits.sum(axis) - math.inf
    empty = (logits == -math.inf).all(axis)
    if not bool(empty.any()):
        return logits.logsumexp(axis)
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
