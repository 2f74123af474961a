"""Log-sum-exp over the rows and over the columns of one similarity table, in two passes over blocks.

The forward takes the sums; the backward forms each block again and turns it in place into ``g_i P_ij + h_j Q_ij``, so
any factors of the loss are exact and nothing but the sums is kept. 4 products of N x M x D in all. Rows against
themselves need the upper triangle only: half of the first two products and all of the gradient's, 2 in all.

Peak bytes above the inputs, with w bytes per element (4, or 8 for float64): ``(N + M) D w + budget_bytes``, rows
against themselves ``N D w + budget_bytes``.
Axes: N rows, M columns, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.config import tile_elements
from counterpoint.kernels.products import times, times_transposed
from counterpoint.kernels.similarity.rules import Rule, exclude
from counterpoint.kernels.similarity.stream import exponent_limit, largest_logit

TILE_ROWS = 64


def stream_logsumexp_both(
    a: Tensor, b: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int
) -> tuple[Tensor, Tensor]:
    """Return ([N], [M]) for rows [N, D] and columns [M, D] of one floating type; scale is []."""
    return _Both.apply(a, b, scale, include, budget_bytes)


def stream_logsumexp_self(z: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int) -> Tensor:
    """Return [N] for rows against themselves under symmetric rules; scale is []."""
    return _Self.apply(z, scale, include, budget_bytes)


class _Sums:
    """Running log-sum-exp [N]: plain sums where no shift is needed, else a maximum with them."""

    def __init__(self, like: Tensor, count: int, shifted: bool) -> None:
        self.total = like.new_zeros(count)
        self.top = like.new_full((count,), torch.finfo(like.dtype).min) if shifted else None

    def add(self, tile: Tensor, down: slice, axis: int) -> None:
        """Add a tile (exponentials, or logits when shifted) along an axis."""
        total = self.total[down]
        if self.top is None:
            total += tile.sum(axis)
            return
        top = self.top[down]
        here = torch.maximum(top, tile.amax(axis))
        total.mul_((top - here).exp_()).add_((tile - here.unsqueeze(axis)).exp_().sum(axis))
        top.copy_(here)

    def value(self) -> Tensor:
        """Return the log-sum-exp, -inf where nothing was added."""
        return self.total.log() if self.top is None else self.total.log() + self.top


class _Table:
    """Blocks of one table."""

    def __init__(self, a: Tensor, b: Tensor, scale: Tensor, include: Sequence[Rule]) -> None:
        self.a, self.b, self.scale, self.include = a, b, scale, include
        self.shifted = not largest_logit(a, b, scale) <= exponent_limit(a.dtype)

    def block(self, rows: slice, columns: slice, buffer: Tensor) -> Tensor:
        """Form a block in the buffer: exponentials, or logits when shifted."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        out = buffer[: height * width].view(height, width)
        return times_transposed(self.a[rows] * self.scale, self.b[columns], out, not self.shifted)

    def tiles(self, block: Tensor, rows: slice, columns: slice) -> Iterator[tuple[Tensor, slice, slice]]:
        """Go over a block tile by tile, the pairs that are out set to count for nothing."""
        width = tile_elements(block.device.type) // TILE_ROWS
        for r in range(0, block.shape[0], TILE_ROWS):
            for c in range(0, block.shape[1], width):
                tile = block[r : r + TILE_ROWS, c : c + width]
                down = slice(rows.start + r, rows.start + r + tile.shape[0])
                across = slice(columns.start + c, columns.start + c + tile.shape[1])
                if self.shifted:
                    exclude(self.include, tile, down, across, -math.inf)
                else:
                    exclude(self.include, tile, down, across, 0.0)
                yield tile, down, across

    def weigh(self, tile: Tensor, down: slice, across: slice, left: _Side, right: _Side) -> None:
        """Turn a tile into ``g_i P_ij + h_j Q_ij``, in place."""
        if not self.shifted:
            tile.mul_(left.factor[down].unsqueeze(1) + right.factor[across].unsqueeze(0))
            return
        other = (tile - right.shift[across].unsqueeze(0)).exp_().mul_(right.factor[across].unsqueeze(0))
        tile.sub_(left.shift[down].unsqueeze(1)).exp_().mul_(left.factor[down].unsqueeze(1)).add_(other)


class _Side:
    """Factors and shifts [N] with which exponentials become ``g P``; rows with nothing in them count for nothing."""

    def __init__(self, upstream: Tensor, value: Tensor, shifted: bool) -> None:
        empty = value == -math.inf
        upstream = torch.where(empty, 0.0, upstream)
        self.shift = torch.where(empty, 0.0, value)
        self.factor = upstream if shifted else upstream * self.shift.neg().exp()


def _elements(like: Tensor, budget_bytes: int) -> int:
    """Entries of the block buffer, tile temporaries apart."""
    return (
        max(budget_bytes - 3 * tile_elements(like.device.type) * like.itemsize, budget_bytes // 2)
        // like.itemsize
    )


def _parts(count: int, size: int) -> list[slice]:
    size = max(1, min(size, count))
    size = -(-count // -(-count // size)) if count else 1
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


class _Both(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int
    ) -> tuple[Tensor, Tensor]:
        table = _Table(a, b, scale, include)
        rows, columns = _Sums(a, len(a), table.shifted), _Sums(a, len(b), table.shifted)
        parts, every = _parts(len(a), _elements(a, budget_bytes) // max(len(b), 1)), slice(0, len(b))
        buffer = a.new_empty((parts[0].stop if parts else 0) * len(b))
        for part in parts:
            for tile, down, across in table.tiles(table.block(part, every, buffer), part, every):
                rows.add(tile, down, 1)
                columns.add(tile, across, 0)
        values = rows.value(), columns.value()
        ctx.save_for_backward(a, b, scale, *values)
        ctx.table, ctx.parts = table, parts
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_rows: Tensor, for_columns: Tensor) -> tuple[Any, ...]:
        a, b, scale, *values = ctx.saved_tensors
        table, every = ctx.table, slice(0, len(b))
        left, right = (_Side(g, v, table.shifted) for g, v in zip((for_rows, for_columns), values))
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        buffer = a.new_empty((ctx.parts[0].stop if ctx.parts else 0) * len(b))
        for part in ctx.parts:
            block = table.block(part, every, buffer)
            for tile, down, across in table.tiles(block, part, every):
                table.weigh(tile, down, across, left, right)
            grad_a[part] = times(block, b)
            grad_b.addmm_(block.T, a[part])
        grad_scale = (a * grad_a).sum() if ctx.needs_input_grad[2] else None
        return grad_a.mul_(scale), grad_b.mul_(scale), grad_scale, None, None


class _Self(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor, include: Sequence[Rule], budget_bytes: int) -> Tensor:
        table = _Table(z, z, scale, include)
        sums = _Sums(z, len(z), table.shifted)
        parts = _parts(len(z), math.isqrt(_elements(z, budget_bytes)))
        buffer = z.new_empty((parts[0].stop if parts else 0) ** 2)
        for i, part in enumerate(parts):
            for other in parts[i:]:
                for tile, down, across in table.tiles(table.block(part, other, buffer), part, other):
                    sums.add(tile, down, 1)
                    if other is not part:
                        sums.add(tile, across, 0)
        value = sums.value()
        ctx.save_for_backward(z, scale, value)
        ctx.table, ctx.parts = table, parts
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        z, scale, value = ctx.saved_tensors
        table, parts = ctx.table, ctx.parts
        side = _Side(upstream, value, table.shifted)
        grad_z = torch.zeros_like(z)
        buffer = z.new_empty((parts[0].stop if parts else 0) ** 2)
        for i, part in enumerate(parts):
            for other in parts[i:]:
                block = table.block(part, other, buffer)
                for tile, down, across in table.tiles(block, part, other):
                    table.weigh(tile, down, across, side, side)
                grad_z[part].add_(times(block, z[other]))
                if other is not part:
                    grad_z[other].addmm_(block.T, z[part])
        # Every row stands on both sides, so the products count each logit twice.
        grad_scale = 0.5 * (z * grad_z).sum() if ctx.needs_input_grad[1] else None
        return grad_z.mul_(scale), grad_scale, None, None
