"""Vocabulary statistics in blocks of positions: the forward forms the gradients, the backward scales them.

A chunk's logits are formed once, in a buffer that the statistic turns in place into the gradient, and both products
(hidden states, weight) follow at once: 4 products of N x V x d for a trainable student with a teacher, 3 for a frozen
head, none recomputed. That needs the factors the loss will put on each position, known up to a common one
(``weights``). Where the real ones differ (a clipped token, an unforeseen weight), just those rows are formed again.

Peak bytes above the inputs, with w bytes per element (4, or 8 for float64):
``V d w`` (trainable head: its gradient) ``+ N d w`` (the gradient of the hidden states) ``+ budget_bytes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.config import KernelSettings
from counterpoint.kernels.foreseen import explain, scaled
from counterpoint.kernels.projection import Projection
from counterpoint.kernels.scores import Head, Scores
from counterpoint.kernels.vocabulary_rows import TILE_ELEMENTS, Rows, RowStatistic


def stream_rows(
    student: Scores,
    statistic: RowStatistic,
    *,
    temperature: float,
    settings: KernelSettings,
    weights: Tensor | None,
    index: Tensor | None = None,
) -> Tensor:
    """Return the statistic's values [N, K].

    Args:
        student: logits [N, V] or a head over hidden [N, d], flat.
        statistic: what to compute per row.
        temperature: divides the student's logits.
        settings: byte budget.
        weights: [N, K] foreseen factors of the values in the loss, or None when unknown.
        index: rows of dense logits to use.
    """
    if isinstance(student, Head):
        return _HeadStream.apply(
            student.hidden, student.weight, student.bias, student, statistic, temperature, settings, weights
        )
    return _DenseStream.apply(student, statistic, temperature, settings, index)


def chunks(count: int, vocabulary: int, buffers: int, itemsize: int, budget_bytes: int) -> Iterator[slice]:
    """Split positions so that ``buffers`` tables [n, V] and the tile temporaries fit the budget."""
    room = max(budget_bytes - 6 * TILE_ELEMENTS * itemsize, budget_bytes // 2)
    size = max(1, room // (buffers * vocabulary * itemsize))
    parts = -(-count // size)
    size = -(-count // max(parts, 1))
    for start in range(0, count, max(size, 1)):
        yield slice(start, min(start + size, count))


class _Pass:
    """One sweep over the positions of a head: values, and the gradients it is asked for."""

    def __init__(self, student: Projection, statistic: RowStatistic, settings: KernelSettings) -> None:
        self.student, self.statistic, self.settings = student, statistic, settings
        self.weight_gradient: Tensor | None = None
        self.bias_gradient: Tensor | None = None

    def sweep(
        self,
        values: Tensor | None,
        upstream: Tensor | None,
        hidden_gradient: Tensor | None,
        only: Tensor | None = None,
        logit_gradient: Tensor | None = None,
    ) -> None:
        """Go over the positions (``only`` those): fill values [N, K]; with upstream [N, K], add to the gradients asked for."""
        student, width = self.student, self.student.vocabulary
        count = len(student) if only is None else len(only)
        needs_slope = student.softcap is not None and upstream is not None
        buffers = 1 + self.statistic.extra_buffers + int(needs_slope)
        plan = list(chunks(count, width, buffers, student.dtype.itemsize, self.settings.budget_bytes))
        pool = [
            student.hidden.new_empty(plan[0].stop if plan else 0, width, dtype=student.dtype)
            for _ in range(buffers)
        ]
        for chunk in plan:
            rows: Rows = chunk if only is None else only[chunk]
            z = student.logits(rows, out=pool[0])
            slope = student.slope(pool[-1][: len(z)].copy_(z)) if needs_slope else None
            spare = pool[1][: len(z)] if self.statistic.extra_buffers else None
            known = (
                None
                if upstream is None
                else upstream[rows] * (student.constant_slope if slope is None else 1.0)
            )
            part = self.statistic(z, rows, spare, known)
            if values is not None:
                values[rows] = part
            if upstream is None:
                continue
            if slope is not None:
                z.mul_(slope)
            if logit_gradient is not None:
                logit_gradient[rows if student.index is None else student.index[rows]] = z.to(
                    logit_gradient.dtype
                )
            if hidden_gradient is not None:
                hidden_gradient[rows] += student.hidden_gradient(z)
            if self.weight_gradient is not None:
                self.weight_gradient.addmm_(z.T, student.states(rows))
            if self.bias_gradient is not None:
                self.bias_gradient.add_(z.sum(0))


class _HeadStream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        statistic: RowStatistic,
        temperature: float,
        settings: KernelSettings,
        weights: Tensor | None,
    ) -> Tensor:
        student = Projection(head.detach(), temperature)
        sweep = _Pass(student, statistic, settings)
        values = hidden.new_empty(len(hidden), statistic.width, dtype=student.dtype)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        # Without foreseen factors, a gradient summed over positions cannot be formed yet; one per position can,
        # when a position has a single value.
        foreseen = weights is not None
        early = (wants_hidden or wants_weight or wants_bias) and (
            foreseen or (statistic.width == 1 and wants_hidden and not (wants_weight or wants_bias))
        )
        upstream = hidden_gradient = None
        if early:
            upstream = torch.ones_like(values) if weights is None else weights.to(values.dtype)
            if wants_hidden:
                hidden_gradient = torch.zeros(hidden.shape, dtype=student.dtype, device=hidden.device)
            if wants_weight:
                sweep.weight_gradient = torch.zeros(weight.shape, dtype=student.dtype, device=weight.device)
            if wants_bias and bias is not None:
                sweep.bias_gradient = torch.zeros(bias.shape, dtype=student.dtype, device=weight.device)
        sweep.sweep(values, upstream, hidden_gradient)
        ctx.save_for_backward(hidden, weight, bias)
        ctx.sweep, ctx.upstream, ctx.hidden_gradient = sweep, upstream, hidden_gradient
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        hidden, weight, bias = ctx.saved_tensors  # also refuses inputs changed in place since the forward
        sweep: _Pass = ctx.sweep
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        wants_bias = wants_bias and bias is not None
        # The buffers are handed over; a second backward through the same graph starts from nothing.
        hidden_gradient, foreseen = ctx.hidden_gradient, ctx.upstream
        ctx.hidden_gradient = ctx.upstream = None
        factor, rest, odd = explain(upstream, foreseen, shared=wants_weight or wants_bias)
        dtype, device = sweep.student.dtype, hidden.device
        if wants_hidden:
            hidden_gradient = scaled(hidden_gradient, factor, hidden.shape, dtype, device)
        if wants_weight:
            sweep.weight_gradient = scaled(sweep.weight_gradient, factor, weight.shape, dtype, device)
        if wants_bias:
            sweep.bias_gradient = scaled(sweep.bias_gradient, factor, bias.shape, dtype, device)
        if len(odd):
            sweep.sweep(None, rest, hidden_gradient if wants_hidden else None, only=odd)
        found = (hidden_gradient, sweep.weight_gradient, sweep.bias_gradient)
        sweep.weight_gradient = sweep.bias_gradient = None
        return (
            *(g.to(x.dtype) if wanted else None
              for g, x, wanted in zip(found, (hidden, weight, bias), (wants_hidden, wants_weight, wants_bias))),
            None, None, None, None, None,
        )  # fmt: skip


class _DenseStream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        statistic: RowStatistic,
        temperature: float,
        settings: KernelSettings,
        index: Tensor | None,
    ) -> Tensor:
        student = Projection(logits, temperature, index)
        values = logits.new_empty(len(student), statistic.width, dtype=student.dtype)
        _Pass(student, statistic, settings).sweep(values, None, None)
        ctx.save_for_backward(logits)
        ctx.statistic, ctx.temperature, ctx.settings, ctx.index = statistic, temperature, settings, index
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        (logits,) = ctx.saved_tensors
        student = Projection(logits, ctx.temperature, ctx.index)
        result = torch.zeros_like(logits)
        _Pass(student, ctx.statistic, ctx.settings).sweep(None, upstream, None, logit_gradient=result)
        return result, None, None, None, None
