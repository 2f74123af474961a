"""Triton kernels over rows of logits that matrix products made: normalisers, and logits turned in place into gradients.

One program per row, which it crosses in blocks with one running state per lane, so that long rows keep their digits.
Sums have the type of the logits, float32 or float64. Entries of -inf count for nothing (0 log 0 = 0).
"""

from __future__ import annotations

import triton
import triton.language as tl

LOWEST = tl.constexpr(-3.0e38)
"""A finite start for running maxima: -inf minus itself would be NaN."""


@triton.jit
def _lanes(row, width, DEPTH: tl.constexpr, BLOCK: tl.constexpr):
    """Fold a row into one maximum, sum of exponentials and (if wanted) sum of their depths below the maximum."""
    lane = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], LOWEST, row.dtype.element_ty)
    total = tl.zeros([BLOCK], row.dtype.element_ty)
    depth = tl.zeros([BLOCK], row.dtype.element_ty)
    for start in range(0, width, BLOCK):
        v = tl.load(row + start + lane, mask=start + lane < width, other=float("-inf"))
        here = tl.maximum(top, v)
        shrink, p = tl.exp(top - here), tl.exp(v - here)
        if DEPTH:
            # What was summed under the old maximum lies deeper under the new one.
            old = tl.where(total > 0, (depth + total * (top - here)) * shrink, 0.0)
            depth = old + tl.where(p > 0, p * (v - here), 0.0)
        total = total * shrink + p
        top = here
    highest = tl.max(top, 0)
    weight = tl.exp(top - highest)
    if DEPTH:
        depth = tl.where(total > 0, (depth + total * (top - highest)) * weight, 0.0)
    return highest, tl.sum(total * weight, 0), tl.sum(depth, 0)


@triton.jit
def fold_rows(
    z, stride, width, top, total, depth, DEPTH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Fold each row into its running maximum, sum and depth, [n] each."""
    i = tl.program_id(0).to(tl.int64)
    highest, summed, deep = _lanes(z + i * stride, width, DEPTH, BLOCK)
    before, sum_before = tl.load(top + i), tl.load(total + i)
    here = tl.maximum(before, highest)
    shrink, weight = tl.exp(before - here), tl.exp(highest - here)
    if DEPTH:
        old = (tl.load(depth + i) + sum_before * (before - here)) * shrink
        old = tl.where(sum_before > 0, old, 0.0)
        tl.store(depth + i, old + tl.where(summed > 0, (deep + summed * (highest - here)) * weight, 0.0))
    tl.store(top + i, here)
    tl.store(total + i, sum_before * shrink + summed * weight)


@triton.jit
def softmax_gradient(
    z, stride, width, top, rest, factor, spread, cap,
    ENTROPY: tl.constexpr, SOFTCAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Overwrite each row's logits with ``f S``, of the entropy H with ``f S (log S + H)``; under a soft-cap c times
    ``1 - (z / c)^2``."""
    i = tl.program_id(0).to(tl.int64)
    row, lane = z + i * stride, tl.arange(0, BLOCK)
    highest, remainder, f = tl.load(top + i), tl.load(rest + i), tl.load(factor + i)
    for start in range(0, width, BLOCK):
        valid = start + lane < width
        v = tl.load(row + start + lane, mask=valid, other=float("-inf"))
        log_s = (v - highest) - remainder
        g = tl.exp(log_s) * f
        if ENTROPY:
            g = tl.where(v > float("-inf"), g * (log_s + tl.load(spread + i)), 0.0)
        if SOFTCAP:
            part = v / tl.load(cap)
            g = g * (1 - part * part)
        tl.store(row + start + lane, g, mask=valid)


@triton.jit
def _excess(log_p, p, x):
    """``p (e^x - 1)``, 0 where log p is -inf; a series near x = 0, where the difference would cancel."""
    series = 1.0 / 14
    for n in tl.static_range(13, 0, -1):
        series = (1.0 + x * series) / n
    near = tl.abs(x) < 0.5
    far = tl.exp(log_p + x) - p
    return tl.where(log_p > float("-inf"), tl.where(near, p * x * series, far), 0.0)


@triton.jit
def _terms(log_s, log_t, NAME: tl.constexpr, X: tl.constexpr, TINY: tl.constexpr):
    """The addends of a divergence, and e, their derivative by log S up to multiples of S."""
    s, t = tl.exp(log_s), tl.exp(log_t)
    if NAME == "forward":
        value = tl.where(t > 0, t * (log_t - log_s), 0.0)
        e = -t
    elif NAME == "reverse":
        value = tl.where(s > 0, s * (log_s - log_t), 0.0)
        e = value
    elif NAME == "jeffreys":
        e = tl.where(s > 0, s * (log_s - log_t), 0.0)
        value = e + tl.where(t > 0, t * (log_t - log_s), 0.0)
        e -= t
    elif NAME == "tv":
        value = 0.5 * tl.abs(s - t)
        e = tl.where(s > t, 0.5 * s, tl.where(s < t, -0.5 * s, 0.0))
    elif NAME == "hellinger":
        root_s, root_t = tl.exp(0.5 * log_s), tl.exp(0.5 * log_t)
        value = 0.5 * (root_s - root_t) * (root_s - root_t)
        e = -0.5 * root_s * root_t
    elif NAME == "alpha":
        # The powers less P, as in ``divergence_rows``: near 0 and 1 the powers alone would cancel.
        if X < 0.5:
            excess = _excess(log_s, s, X * (log_t - log_s))
            e = excess / -X
        else:
            excess = _excess(log_t, t, (X - 1) * (log_t - log_s))
            e = (excess + t) / -X
        value = excess / (X * (X - 1))
    elif NAME == "skewed_forward":
        mix = tl.maximum((1 - X) * s + X * t, TINY)
        value = tl.where(t > 0, t * (log_t - tl.log(mix)), 0.0)
        e = -(1 - X) * (s / mix) * t
    elif NAME == "skewed_reverse":
        mix = tl.maximum(X * s + (1 - X) * t, TINY)
        value = tl.where(s > 0, s * (log_s - tl.log(mix)), 0.0)
        e = value - X * s * (s / mix)
    else:
        tl.static_assert(NAME == "jsd")
        log_m = tl.log(tl.maximum((1 - X) * s + X * t, TINY))
        e = (1 - X) * tl.where(s > 0, s * (log_s - log_m), 0.0)
        value = X * tl.where(t > 0, t * (log_t - log_m), 0.0) + e
    return value, e, s


@triton.jit
def divergence_rows(
    z, stride, width, teacher, teacher_stride, value, upstream,
    NAME: tl.constexpr, X: tl.constexpr, TINY: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write each row's divergence; if wanted, overwrite the student's logits with ``g (e - S sum(e))``."""
    i = tl.program_id(0).to(tl.int64)
    student, other, lane = z + i * stride, teacher + i * teacher_stride, tl.arange(0, BLOCK)
    top_s, total_s, _depth = _lanes(student, width, False, BLOCK)
    top_t, total_t, _depth = _lanes(other, width, False, BLOCK)
    rest_s, rest_t = tl.log(total_s), tl.log(total_t)
    values = tl.zeros([BLOCK], z.dtype.element_ty)
    inner = tl.zeros([BLOCK], z.dtype.element_ty)
    for start in range(0, width, BLOCK):
        valid = start + lane < width
        log_s = tl.load(student + start + lane, mask=valid, other=float("-inf")) - top_s - rest_s
        log_t = tl.load(other + start + lane, mask=valid, other=float("-inf")) - top_t - rest_t
        term, e, s = _terms(log_s, log_t, NAME, X, TINY)
        values += term
        inner += e
    tl.store(value + i, tl.sum(values, 0))
    if GRADIENT:
        g, mass = tl.load(upstream + i), tl.sum(inner, 0)
        if NAME == "forward":
            mass = tl.full([], -1.0, z.dtype.element_ty)
        for start in range(0, width, BLOCK):
            valid = start + lane < width
            log_s = tl.load(student + start + lane, mask=valid, other=float("-inf")) - top_s - rest_s
            log_t = tl.load(other + start + lane, mask=valid, other=float("-inf")) - top_t - rest_t
            term, e, s = _terms(log_s, log_t, NAME, X, TINY)
            tl.store(student + start + lane, g * (e - s * mass), mask=valid)
