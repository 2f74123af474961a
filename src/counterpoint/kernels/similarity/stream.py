"""Row-wise log-sum-exp of similarities in blocks of rows: the forward forms the gradients, the backward scales them.

Three products of N x M x D when both sides learn (similarities, rows' and columns' gradient), two when the columns are
constant. The rows' gradient is exact for any factors of the loss; the columns' needs them foreseen (``weights``) and
forms again just the rows that turn out otherwise.

Peak bytes above the inputs, with w bytes per element (4, or 8 for float64): ``(N + M) D w + budget_bytes``, and a chunk's
own rows, ``2 n D w``, which count where D is not small against M.
Axes: N rows, M columns, D width, n rows of one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.config import tile_elements
from counterpoint.kernels.foreseen import explain, scale_owned
from counterpoint.kernels.products import times, times_transposed
from counterpoint.kernels.similarity.rules import Rule, exclude


@dataclass(frozen=True)
class StreamPlan:
    """What does not carry gradient: rules, foreseen factors [N], byte budget, and whether the mean similarity is wanted."""

    include: Sequence[Rule]
    weights: Tensor | None
    budget_bytes: int
    with_mean: bool = False


def stream_logsumexp(
    a: Tensor, b: Tensor, scale: Tensor, log_weights: Tensor | None, plan: StreamPlan
) -> tuple[Tensor, Tensor | None]:
    """Return the log-sum-exp [N] and, if the plan wants it, the detached mean similarity [N].

    Args:
        a: [N, D], float32 or wider.
        b: [M, D], the same type.
        scale: [] or [N].
        log_weights: [M] or [N, M] or None; an [N, M] table gets no gradient here.
        plan: the rest.
    """
    values, mean = _OneWay.apply(a, b, scale, log_weights, plan)
    return values, mean if plan.with_mean else None


def exponent_limit(dtype: torch.dtype) -> float:
    """Largest exponent whose exponentials can be summed, divided and multiplied without a shift."""
    return 600.0 if dtype == torch.float64 else 60.0


def largest_logit(a: Tensor, b: Tensor, scale: Tensor, log_weights: Tensor | None = None) -> float:
    """Bound every logit from above in size, by Cauchy and Schwarz."""
    if not (len(a) and len(b)):
        return 0.0
    bound = (a.norm(dim=1) * scale.abs()).max() * b.norm(dim=1).max()
    if log_weights is not None:
        bound = bound + torch.where(log_weights == -math.inf, 0.0, log_weights).abs().max()
    return float(bound)


class _RowSweep:
    """One pass over chunks of rows; fills what is asked for."""

    def __init__(
        self, a: Tensor, b: Tensor, scale: Tensor, log_weights: Tensor | None, plan: StreamPlan
    ) -> None:
        self.a, self.b, self.scale, self.log_weights, self.plan = a, b, scale, log_weights, plan
        self.shifted = not largest_logit(a, b, scale, log_weights) <= exponent_limit(a.dtype)

    def sweep(
        self,
        only: Tensor | None = None,
        values: Tensor | None = None,
        mixed: Tensor | None = None,
        factors: Tensor | None = None,
        columns_gradient: Tensor | None = None,
        weights_gradient: Tensor | None = None,
    ) -> None:
        """Fill ``values`` [N] and ``mixed = P b`` [N, D]; add to the columns' [M, D] and log-weights' [M] gradients with ``factors`` [N]."""
        a, scale, rules, table = self.a, self.scale, self.plan.include, self.log_weights
        if only is not None:
            a, rules = a[only], [rule.take(only) for rule in rules]
            scale = scale[only] if scale.dim() else scale
            table = table[only] if table is not None and table.dim() == 2 else table
            factors = factors[only] if factors is not None else None
        count, width = len(a), len(self.b)
        size = max(
            1,
            max(
                self.plan.budget_bytes - 3 * tile_elements(a.device.type) * a.itemsize,
                self.plan.budget_bytes // 2,
            )
            // max(width * a.itemsize, 1),
        )
        buffer = a.new_empty(min(size, count), width)
        at_once = table is None and not self.shifted  # logits leave the product as exponentials
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            scaled_rows = a[rows] * (scale[rows].unsqueeze(1) if scale.dim() else scale)
            block = times_transposed(scaled_rows, self.b, buffer[: rows.stop - rows.start], at_once)
            total, top = self._exponentiate(block, rows, rules, table, at_once)
            inverse = torch.where(total > 0, 1 / total, 0.0)
            if values is not None:
                values[rows] = (total.log() if top is None else total.log() + top).squeeze(1)
            if mixed is not None:
                mixed[rows] = times(block, self.b).mul_(inverse)
            if factors is None:
                continue
            weight = inverse * factors[rows].unsqueeze(1)
            if columns_gradient is not None:
                columns_gradient.addmm_(block.T, scaled_rows.mul_(weight))
            if weights_gradient is not None:
                weights_gradient += torch.mv(block.T, weight.squeeze(1))

    def _exponentiate(
        self, block: Tensor, rows: slice, rules: Sequence[Rule], table: Tensor | None, done: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Turn logits into exponentials in place (unless done), strip by strip in cache; return their sums [n, 1] and the shift [n, 1]."""
        width = block.shape[1]
        total = block.new_empty(len(block), 1)
        top = block.new_empty(len(block), 1) if self.shifted else None
        height = max(1, tile_elements(block.device.type) // max(width, 1))
        every = slice(0, width)
        for start in range(0, len(block), height):
            strip = block[start : start + height]
            strip_rows = slice(rows.start + start, rows.start + start + len(strip))
            if table is not None:
                strip.add_(table if table.dim() == 1 else table[strip_rows])
            if not done and top is None:
                strip.exp_()
            if top is not None:
                exclude(rules, strip, strip_rows, every, -math.inf)
                here = (
                    strip.amax(1, keepdim=True).clamp_(min=torch.finfo(block.dtype).min)
                    if width
                    else total[:0]
                )
                top[start : start + height] = here
                strip.sub_(here).exp_()
            else:
                exclude(rules, strip, strip_rows, every, 0.0)
            torch.sum(strip, 1, keepdim=True, out=total[start : start + height])
        return total, top


class _OneWay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, log_weights: Tensor | None, plan: StreamPlan
    ) -> tuple[Tensor, Tensor]:
        wants_a, wants_b, wants_scale, wants_weights = ctx.needs_input_grad[:4]
        sweep = _RowSweep(a, b, scale, log_weights, plan)
        values = a.new_empty(len(a))
        mixed = torch.zeros_like(a) if wants_a or wants_scale or plan.with_mean else None
        factors = None
        if wants_b or wants_weights:
            factors = torch.ones_like(values) if plan.weights is None else plan.weights.to(values.dtype)
        ctx.owned = _summed(ctx.needs_input_grad, b, log_weights)
        sweep.sweep(None, values, mixed, factors, *ctx.owned)
        mean = values.new_empty(0)
        if mixed is not None and (wants_scale or plan.with_mean):
            mean = (a * mixed).sum(1)
        ctx.save_for_backward(a, b, scale, log_weights)
        ctx.sweep, ctx.mixed, ctx.mean = sweep, mixed if wants_a else None, mean
        ctx.factors = factors
        ctx.mark_non_differentiable(mean)
        return values, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, for_mean: Tensor) -> tuple[Any, ...]:
        a, b, scale, log_weights = ctx.saved_tensors
        wants_a, wants_b, wants_scale, wants_weights = ctx.needs_input_grad[:4]
        grad_a = grad_scale = None
        # What the forward formed is handed over; a second backward through the same graph forms it once more.
        if wants_a:
            grad_a, ctx.mixed = ctx.mixed, None
            if grad_a is None:
                grad_a = torch.zeros_like(a)
                ctx.sweep.sweep(mixed=grad_a)
            grad_a.mul_((upstream * scale).unsqueeze(1))
        if wants_scale:
            grad_scale = upstream * ctx.mean
            grad_scale = grad_scale if scale.dim() else grad_scale.sum()
        grad_b = grad_weights = None
        if wants_b or wants_weights:
            owned, ctx.owned = ctx.owned, None
            if owned is None:
                owned = _summed(ctx.needs_input_grad, b, log_weights)
                ctx.sweep.sweep(None, None, None, ctx.factors, *owned)
            grad_b, grad_weights = owned
            factor, rest, odd = explain(upstream.unsqueeze(1), ctx.factors.unsqueeze(1), shared=True)
            for buffer in owned:
                if buffer is not None:
                    scale_owned(buffer, factor)
            if len(odd):
                ctx.sweep.sweep(
                    odd, factors=rest.squeeze(1), columns_gradient=grad_b, weights_gradient=grad_weights
                )
        return grad_a, grad_b, grad_scale, grad_weights, None


def _summed(
    wanted: Sequence[bool], b: Tensor, log_weights: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Make the gradients summed over rows that are wanted: the columns' and the log-weights'."""
    return (
        torch.zeros_like(b) if wanted[1] else None,
        torch.zeros_like(log_weights) if wanted[3] and log_weights is not None else None,
    )
