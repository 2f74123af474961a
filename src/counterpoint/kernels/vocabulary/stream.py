"""Vocabulary statistics in blocks of positions: the forward forms the gradients, the backward scales them.

A chunk's logits are formed once, in a buffer that the statistic turns in place into the gradient, and both products
(hidden states, weight) follow at once: 4 products of N x V x d for a trainable student with a teacher, 3 for a frozen
head, none recomputed. That needs the factors the loss will put on each position, known up to a common one
(``weights``). Where the real ones differ (a clipped token, an unforeseen weight), just those rows are formed again.

Peak bytes above the inputs, with w bytes per element (4, or 8 for float64):
``V d w`` (trainable head: its gradient) ``+ N d w`` (the gradient of the hidden states) ``+ budget_bytes``. Every chunk
adds to the whole weight gradient, so with a large trainable head twice the default budget is about a sixth faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.config import KernelSettings, tile_elements
from counterpoint.kernels.foreseen import explain, scale_owned
from counterpoint.kernels.scores import Head, Scores
from counterpoint.kernels.vocabulary.projection import Projection
from counterpoint.kernels.vocabulary.rows import RowIndex, RowStatistic


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


def chunks(
    count: int, vocabulary: int, buffers: int, itemsize: int, budget_bytes: int, tile: int
) -> Iterator[slice]:
    """Split positions so that ``buffers`` tables [n, V] and temporaries of ``tile`` entries fit the budget."""
    room = max(budget_bytes - 3 * buffers * tile * itemsize, budget_bytes // 2)
    size = max(1, room // (buffers * vocabulary * itemsize))
    parts = -(-count // size)
    size = -(-count // max(parts, 1))
    for start in range(0, count, max(size, 1)):
        yield slice(start, min(start + size, count))


class Gradients(NamedTuple):
    """Buffers to add gradients to: hidden [N, d], weight [V, d], bias [V], each in the type of the sums."""

    hidden: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    @staticmethod
    def wanted(which: Sequence[bool], inputs: Sequence[Tensor | None], dtype: torch.dtype) -> Gradients:
        """Make zeros for the inputs that want gradient."""
        return Gradients(
            *(torch.zeros(x.shape, dtype=dtype, device=x.device) if w and x is not None else None
              for w, x in zip(which, inputs))
        )  # fmt: skip


class _Pass:
    """One sweep over the positions of a head: values, and the gradients it is asked for."""

    def __init__(self, student: Projection, statistic: RowStatistic, settings: KernelSettings) -> None:
        self.student, self.statistic, self.settings = student, statistic, settings

    def sweep(
        self,
        values: Tensor | None,
        upstream: Tensor | None,
        grads: Gradients,
        only: Tensor | None = None,
        logit_gradient: Tensor | None = None,
    ) -> None:
        """Go over the positions (``only`` those): fill values [N, K]; with upstream [N, K], add to the gradients asked for."""
        student, width = self.student, self.student.vocabulary
        count = len(student) if only is None else len(only)
        needs_slope = student.softcap is not None and upstream is not None
        tile = tile_elements(student.hidden.device.type)
        buffers = 1 + self.statistic.extra_buffers + int(needs_slope)
        plan = list(chunks(count, width, buffers, student.dtype.itemsize, self.settings.budget_bytes, tile))
        pool = [
            student.hidden.new_empty(plan[0].stop if plan else 0, width, dtype=student.dtype)
            for _ in range(buffers)
        ]
        for chunk in plan:
            rows: RowIndex = chunk if only is None else only[chunk]
            z = student.logits(rows, out=pool[0])
            slope = student.slope(pool[-1][: len(z)].copy_(z)) if needs_slope else None
            spare = pool[1][: len(z)] if self.statistic.extra_buffers else None
            factor = (
                None
                if upstream is None
                else upstream[rows] * (student.constant_slope if slope is None else 1.0)
            )
            part = self.statistic(z, rows, spare, factor)
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
            if grads.hidden is not None:
                grads.hidden[rows] += student.hidden_gradient(z)
            if grads.weight is not None:
                grads.weight.addmm_(z.T, student.states(rows))
            if grads.bias is not None:
                grads.bias.add_(z.sum(0))


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
        wants = ctx.needs_input_grad[:3]
        # Without foreseen factors, a gradient summed over positions cannot be formed yet; one per position can,
        # when a position has a single value.
        if weights is None and any(wants) and statistic.width == 1 and not (wants[1] or wants[2]):
            weights = torch.ones_like(values)
        ctx.foreseen = weights.to(values.dtype) if weights is not None and any(wants) else None
        ctx.owned = (
            Gradients()
            if ctx.foreseen is None
            else Gradients.wanted(wants, (hidden, weight, bias), student.dtype)
        )
        sweep.sweep(values, ctx.foreseen, ctx.owned)
        ctx.save_for_backward(hidden, weight, bias)
        ctx.pass_ = sweep
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        inputs = ctx.saved_tensors  # also refuses inputs changed in place since the forward
        wants, dtype = ctx.needs_input_grad[:3], ctx.pass_.student.dtype
        owned, ctx.owned = ctx.owned, None
        if owned is None or ctx.foreseen is None:
            owned = Gradients.wanted(wants, inputs, dtype)
            if (
                ctx.foreseen is not None
            ):  # handed over by an earlier backward through the same graph: form them once more
                ctx.pass_.sweep(None, ctx.foreseen, owned)
        factor, rest, odd = explain(
            upstream, ctx.foreseen, shared=owned.weight is not None or owned.bias is not None
        )
        for buffer in owned:
            if buffer is not None:
                scale_owned(buffer, factor)
        if len(odd):
            ctx.pass_.sweep(None, rest, owned, only=odd)
        results = (None if g is None else g.to(x.dtype) for g, x in zip(owned, inputs))
        return (*results, None, None, None, None, None)


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
        _Pass(student, statistic, settings).sweep(values, None, Gradients())
        ctx.save_for_backward(logits)
        ctx.statistic, ctx.temperature, ctx.settings, ctx.index = statistic, temperature, settings, index
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        (logits,) = ctx.saved_tensors
        student = Projection(logits, ctx.temperature, ctx.index)
        result = torch.zeros_like(logits)
        _Pass(student, ctx.statistic, ctx.settings).sweep(None, upstream, Gradients(), logit_gradient=result)
        return result, None, None, None, None
