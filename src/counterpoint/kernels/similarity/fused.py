"""Log-sum-exp of similarities in fused kernels: no block of logits in memory, nothing foreseen.

The forward takes each row's sum and, in the same sweep, its softmax-weighted mean column, which is the rows' gradient
up to a factor: 2 products of N x M x D. The columns' gradient forms the logits once more: 2 products. Rows and columns
of one table take 1 product forward and 4 backward, rows against themselves 1 and 2.

Peak bytes above the inputs, with w bytes per sum (4, or 8 for float64): ``(N + M) D w``, for rows and columns of one
table ``+ budget_bytes`` at most. Axes: N rows, M columns, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.similarity.fused_kernels import row_sums, weighted_products
from counterpoint.kernels.similarity.rules import Rule
from counterpoint.kernels.similarity.stream import StreamPlan

FEW_PROGRAMS = 256
PIECE = 32


def fused_logsumexp(
    a: Tensor, b: Tensor, scale: Tensor, log_weights: Tensor | None, plan: StreamPlan
) -> tuple[Tensor, Tensor | None]:
    """Return the log-sum-exp [N] and, if the plan wants it, the detached mean similarity [N].

    Args:
        a: [N, D], any floating type.
        b: [M, D], the same type.
        scale: [] or [N], in the type of the sums.
        log_weights: [M] or [N, M] or None; an [N, M] table gets no gradient here.
        plan: the rest; nothing needs to be foreseen, so its weights are not used.
    """
    values, mean = _OneWay.apply(a, b, scale, log_weights, plan)
    return values, mean if plan.with_mean else None


def fused_logsumexp_both(
    a: Tensor, b: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int
) -> tuple[Tensor, Tensor]:
    """Return ([N], [M]) for rows [N, D] and columns [M, D] of one floating type; scale is []."""
    return _Both.apply(a, b, scale, include, budget_bytes)


def fused_logsumexp_self(z: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int) -> Tensor:
    """Return [N] for rows against themselves under symmetric rules; scale is []."""
    return _Self.apply(z, scale, include)


@dataclass(frozen=True, eq=False)
class _Table:
    """Rows [N, D] against columns [M, D], with everything that makes their logits."""

    x: Tensor
    y: Tensor
    scale: Tensor
    row_keys: Tensor
    column_keys: Tensor
    equal: int
    not_self: bool
    table: Tensor | None
    log_weights: Tensor | None
    scale_of_columns: bool = False

    @staticmethod
    def of(
        x: Tensor, y: Tensor, scale: Tensor, include: Sequence[Rule], log_weights: Tensor | None = None
    ) -> _Table:
        """Gather the rules: keys [rules, N] and [rules, M], one table for all tables."""
        keys = [_whole(rule) for rule in include if rule.rows is not None]
        equal = sum(1 << i for i, rule in enumerate(r for r in include if r.rows is not None) if rule.equal)
        tables = [rule.table for rule in include if rule.table is not None]
        table = torch.stack(tables).all(0) if len(tables) > 1 else tables[0] if tables else None
        if log_weights is not None:
            log_weights = log_weights.detach().expand(len(x), len(y))
        empty = torch.empty(0, len(x), dtype=torch.int32, device=x.device)
        return _Table(
            x.detach().contiguous(),
            y.detach().contiguous(),
            scale.detach().expand(len(x)).contiguous(),
            torch.stack([rows for rows, _ in keys]) if keys else empty,
            torch.stack([columns for _, columns in keys]) if keys else empty,
            equal,
            any(rule.diagonal is not None for rule in include),
            None if table is None else table.view(torch.uint8),
            log_weights,
        )

    @property
    def swapped(self) -> _Table:
        """The same table with rows and columns exchanged."""
        return _Table(
            self.y, self.x, self.scale, self.column_keys, self.row_keys, self.equal, self.not_self,
            None if self.table is None else self.table.T,
            None if self.log_weights is None else self.log_weights.T,
            not self.scale_of_columns,
        )  # fmt: skip

    @property
    def dtype(self) -> torch.dtype:
        """Type of the sums."""
        return torch.promote_types(self.x.dtype, torch.float32)

    @property
    def height(self) -> int:
        """Rows per program: as many as fit its registers, fewer where that leaves most of a GPU idle."""
        few = triton.next_power_of_2(max(1, len(self.x) // FEW_PROGRAMS))
        return max(16, min(few, 64 if self.dtype == torch.float32 else 32))

    @property
    def _width(self) -> int:
        return max(16, triton.next_power_of_2(self.x.shape[1]))

    def sums(
        self, with_mixed: bool, columns_within_bytes: int = 0
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the rows' log-sum-exp [N]; mixed [N, D] if wanted; the columns' log-sum-exp [M] if given bytes to do it in."""
        value = self.x.new_empty(len(self.x), dtype=self.dtype)
        mixed = self.x.new_empty(self.x.shape, dtype=self.dtype) if with_mixed else None
        columns = self.x.new_full((len(self.y),), -math.inf, dtype=self.dtype)
        height = self.height
        programs = max(1, triton.cdiv(len(self.x), height))
        strip, partial = programs, None
        if columns_within_bytes:
            row_bytes = max(1, len(self.y) * self.dtype.itemsize)
            strip = max(1, min(programs, columns_within_bytes // (2 * row_bytes)))
            partial = self.x.new_empty(strip, len(self.y), dtype=self.dtype)
        for start in range(0, len(self.x), strip * height):
            here = min(strip, triton.cdiv(len(self.x) - start, height))
            self._launch(
                row_sums, here, value, mixed, partial, len(self.x), len(self.y), start,
                MIXED=with_mixed, PARTIAL=partial is not None,
            )  # fmt: skip
            if partial is not None:
                columns = torch.logaddexp(columns, partial[:here].logsumexp(0))
        return value, mixed, columns if partial is not None else None

    def products(
        self, column_side: _Side, row_side: _Side | None = None, *, product: bool = True, mass: bool = False
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return ``w y`` [N, D] and ``w 1`` [N] where wanted, with ``w = h_c Q_rc [+ g_r P_rc]``."""
        summed = self.x.new_empty(self.x.shape, dtype=self.dtype) if product else None
        masses = self.x.new_empty(len(self.x), dtype=self.dtype) if mass else None
        if len(self.x):
            rows = row_side or column_side
            self._launch(
                weighted_products, triton.cdiv(len(self.x), self.height),
                rows.shift, rows.factor, column_side.shift, column_side.factor, summed, masses, len(self.x), len(self.y),
                OF_ROWS=row_side is not None, SCALE_OF_COLUMNS=self.scale_of_columns, PRODUCT=product, MASS=mass,
            )  # fmt: skip
        return summed, masses

    def _launch(self, kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        table, weights = self.table, self.log_weights
        with torch.cuda.device_of(self.x):  # Triton launches on the current device
            kernel[(programs,)](
                self.x, self.y, self.scale, self.x if weights is None else weights, self.row_keys, self.column_keys,
                self.x if table is None else table, *(self.x if v is None else v for v in arguments),
                *((0, 0) if weights is None else weights.stride()), *((0, 0) if table is None else table.stride()),
                WIDTH=self._width, PIECE=min(self._width, PIECE), D=self.x.shape[1], KEYS=len(self.row_keys),
                EQUAL=self.equal, NOT_SELF=self.not_self, TABLE=table is not None, WEIGHTS=weights is not None, **constants,
                LOGIT_PRECISION=_precision(self.x.dtype), PRECISION=_precision(self.dtype),
                SUM=tl.float64 if self.dtype == torch.float64 else tl.float32, ROWS=self.height, COLUMNS=32,
                num_warps=8 if self._width * self.dtype.itemsize > 512 else 4, num_stages=1,
            )  # fmt: skip


class _Side:
    """Shifts and factors [N] that turn logits into ``g P``; what has no pair counts for nothing."""

    def __init__(self, upstream: Tensor, value: Tensor) -> None:
        empty = value == -math.inf
        self.shift = torch.where(empty, 0.0, value)
        self.factor = torch.where(empty, 0.0, upstream).contiguous()


def _precision(dtype: torch.dtype) -> str:
    """How products of widened inputs are formed: in full, unless the person asked PyTorch for less.

    Half-precision numbers are TF32 numbers too, so that their products are exact in the short form.
    """
    if dtype == torch.float64 or torch.version.hip is not None:
        return "ieee"
    short = dtype != torch.float32 or torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if short else "tf32x3"


def _whole(rule: Rule) -> tuple[Tensor, Tensor]:
    """Keys as whole numbers: what a kernel compares; other types by their place among the distinct ones."""
    assert rule.rows is not None
    assert rule.columns is not None
    rows, columns = rule.rows, rule.columns
    if rows.dtype.is_floating_point:
        _, places = torch.unique(torch.cat([rows, columns]), return_inverse=True)
        rows, columns = places[: len(rows)], places[len(rows) :]
    return rows.long(), columns.long()


class _OneWay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, log_weights: Tensor | None, plan: StreamPlan
    ) -> tuple[Tensor, Tensor]:
        wants_a, _, wants_scale, _ = ctx.needs_input_grad[:4]
        table = _Table.of(a, b, scale, plan.include, log_weights)
        values, mixed, _ = table.sums(with_mixed=wants_a or wants_scale or plan.with_mean)
        mean = (a * mixed).sum(1) if mixed is not None else values.new_empty(0)
        ctx.save_for_backward(a, b, scale, log_weights, values)
        ctx.table, ctx.mixed, ctx.mean = table, mixed, mean
        ctx.mark_non_differentiable(mean)
        return values, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, for_mean: Tensor) -> tuple[Any, ...]:
        a, b, scale, _, values = ctx.saved_tensors  # also refuses inputs changed in place since the forward
        wants_a, wants_b, wants_scale, wants_weights = ctx.needs_input_grad[:4]
        grad_a = grad_b = grad_scale = mass = None
        if wants_a:
            grad_a = (ctx.mixed * (upstream * scale).unsqueeze(1)).to(a.dtype)
        if wants_scale:
            grad_scale = upstream * ctx.mean
            grad_scale = grad_scale if scale.dim() else grad_scale.sum()
        if wants_b or wants_weights:
            side = _Side(upstream, values)
            grad_b, mass = ctx.table.swapped.products(side, product=wants_b, mass=wants_weights)
        return grad_a, None if grad_b is None else grad_b.to(b.dtype), grad_scale, mass, None


class _Both(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int
    ) -> tuple[Tensor, Tensor]:
        table = _Table.of(a, b, scale, include)
        rows, _, columns = table.sums(with_mixed=False, columns_within_bytes=budget_bytes)
        assert columns is not None
        ctx.save_for_backward(a, b, scale, rows, columns)
        ctx.table = table
        return rows, columns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_rows: Tensor, for_columns: Tensor) -> tuple[Any, ...]:
        a, b, scale, rows, columns = ctx.saved_tensors
        wants_a, wants_b, wants_scale = ctx.needs_input_grad[:3]
        left, right = _Side(for_rows, rows), _Side(for_columns, columns)
        grad_a = grad_b = grad_scale = None
        if wants_a or wants_scale:
            products, _ = ctx.table.products(right, left)
            grad_scale = (a * products).sum() if wants_scale else None
            grad_a = products.mul_(scale).to(a.dtype) if wants_a else None
        if wants_b:
            products, _ = ctx.table.swapped.products(left, right)  # the scale, now of the columns, is in it
            grad_b = products.to(b.dtype)
        return grad_a, grad_b, grad_scale, None, None


class _Self(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor, include: Sequence[Rule]) -> Tensor:
        table = _Table.of(z, z, scale, include)
        value, _, _ = table.sums(with_mixed=False)
        ctx.save_for_backward(z, scale, value)
        ctx.table = table
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        z, scale, value = ctx.saved_tensors
        side = _Side(upstream, value)
        products, _ = ctx.table.products(side, side)
        # Every row stands on both sides, so the products count each logit twice.
        grad_scale = 0.5 * (z * products).sum() if ctx.needs_input_grad[1] else None
        return products.mul_(scale).to(z.dtype), grad_scale, None
