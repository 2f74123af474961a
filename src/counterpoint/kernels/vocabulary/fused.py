"""Vocabulary statistics on a GPU: PyTorch's matrix products, and one fused pass over the logits between them.

The row statistics take the place of those in vocabulary_rows.py inside the same chunk loop: two projections, one pass,
two products. The log-probabilities of a head in tiles do as vocabulary_tiles.py does: the forward folds each tile into
running normalisers, the backward forms it once more and turns it in place into its gradient; nothing waits for the GPU.

Peak bytes above the inputs, with w bytes per sum (4, or 8 for float64):
``V d w`` (trainable head: its gradient) ``+ N d w`` (the gradient of the hidden states) ``+ budget_bytes``.
Axes: N positions, V vocabulary, d width, K entries per position; n and c, positions and columns of one tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.scores import Head, wide
from counterpoint.kernels.vocabulary.fused_kernels import (
    LOWEST,
    divergence_rows,
    fold_rows,
    softmax_gradient,
)
from counterpoint.kernels.vocabulary.rows import PickedLogProbs, RowDivergence, RowEntropy, RowIndex

MOST_POSITIONS = 4096


class _Running:
    """Running maximum, sum of exponentials and sum of their depths below the maximum, [N] each."""

    def __init__(self, count: int, like: Tensor) -> None:
        self.top = like.new_full((count,), LOWEST.value)
        self.total, self.depth = like.new_zeros(count), like.new_zeros(count)

    def fold(self, z: Tensor, rows: slice, with_depth: bool) -> None:
        """Fold logits [n, c] into the state of some rows."""
        top, total, depth = self.top[rows], self.total[rows], self.depth[rows]
        _over_rows(fold_rows, z, top, total, depth, DEPTH=with_depth)

    @property
    def entropy(self) -> Tensor:
        """Entropy of each row; the depths hold no large number."""
        return self.total.log() - self.depth / self.total


def _over_rows(kernel: Any, z: Tensor, *arguments: Any, **constants: Any) -> None:
    """Run a kernel with one program per row of [n, c]."""
    if z.numel():
        block = max(128, min(4096, triton.next_power_of_2(z.shape[1]) // 2))
        with torch.cuda.device_of(z):  # Triton launches on the current device
            kernel[(len(z),)](
                z, z.stride(0), z.shape[1], *arguments, **constants, BLOCK=block, num_warps=8 if block > 1024 else 4
            )  # fmt: skip


def _gradient(
    z: Tensor, top: Tensor, rest: Tensor, factor: Tensor, spread: Tensor | None = None, cap: Tensor | None = None
) -> None:  # fmt: skip
    """Overwrite logits with ``f S``, or the entropy's ``f S (log S + H)``, times the soft-cap's slope."""
    _over_rows(
        softmax_gradient, z, top, rest, factor.contiguous(), top if spread is None else spread,
        top if cap is None else cap, ENTROPY=spread is not None, SOFTCAP=cap is not None,
    )  # fmt: skip


@dataclass
class FusedPicked(PickedLogProbs):
    """Log-probabilities of K given entries per row, and the entropy if wanted."""

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """Gradient: ``sum_k g_k (onehot_k - S)``."""
        ids, state = self.ids[rows], _Running(len(z), z)
        state.fold(z, slice(None), self.entropy is not None)
        rest = state.total.log()
        values = z.gather(1, ids).sub_(state.top.unsqueeze(1)).sub_(rest.unsqueeze(1))
        if self.peak is not None:
            self.peak[rows] = -rest
        if self.entropy is not None:
            self.entropy[rows] = state.entropy
        if upstream is not None:
            _gradient(z, state.top, rest, upstream.sum(1).neg_())
            z.scatter_add_(1, ids, upstream)
        return values


@dataclass
class FusedEntropy(RowEntropy):
    """Entropy in nats."""

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """One value per row."""
        state = _Running(len(z), z)
        state.fold(z, slice(None), True)
        value = state.entropy
        if upstream is not None:
            _gradient(z, state.top, state.total.log(), upstream.squeeze(1).neg(), spread=value)
        return value.unsqueeze(1)


@dataclass
class FusedDivergence(RowDivergence):
    """Divergence from a constant teacher."""

    def __call__(self, z: Tensor, rows: RowIndex, spare: Tensor | None, upstream: Tensor | None) -> Tensor:
        """One value per row."""
        assert spare is not None
        teacher, value = self.teacher.logits(rows, out=spare), z.new_empty(len(z))
        _over_rows(
            divergence_rows, z, teacher, teacher.stride(0), value,
            value if upstream is None else upstream.contiguous(),
            NAME=self.kind.name, X=float(self.kind.parameter), TINY=torch.finfo(z.dtype).tiny,
            GRADIENT=upstream is not None,
        )  # fmt: skip
        return value.unsqueeze(1)


def fused_log_probs(
    head: Head, ids: Tensor, temperature: float, budget_bytes: int, with_entropy: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return log-probabilities [N, K] of ids [N, K], if wanted the detached entropy [N], and the likeliest entry's log-probability
    [N], detached; hidden is [N, d].
    """
    values, entropy, peak = _LogProbs.apply(
        head.hidden, head.weight, head.bias, head, ids, temperature, budget_bytes, with_entropy
    )
    return values, entropy if with_entropy else None, peak


class _Tiles:
    """Tiles of final logits of one head."""

    def __init__(self, head: Head, temperature: float, budget_bytes: int) -> None:
        self.head, self.dtype = head.detach(), wide(head.hidden[:0]).dtype
        self.inner = head.scale / (head.softcap or temperature)
        self.outer = 1.0 if head.softcap is None else head.softcap / temperature
        self.count, self.vocabulary = len(head.hidden), head.vocabulary
        elements = max(1, budget_bytes // self.dtype.itemsize)
        self.height = max(1, min(self.count, MOST_POSITIONS, elements))
        widened = 0 if head.weight.dtype == self.dtype else head.weight.shape[1]
        self.width = max(1, min(self.vocabulary, elements // (self.height + widened)))
        self.buffer = head.hidden.new_empty(self.height * self.width, dtype=self.dtype)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        for row in range(0, self.count, self.height):
            for column in range(0, self.vocabulary, self.width):
                yield (
                    slice(row, min(row + self.height, self.count)),
                    slice(column, min(column + self.width, self.vocabulary)),
                )

    def states(self, rows: slice) -> Tensor:
        """Hidden states of a block, float32 or wider."""
        return wide(self.head.hidden[rows])

    def weight(self, columns: slice) -> Tensor:
        """The head's rows of a block, float32 or wider."""
        return wide(self.head.weight[columns])

    def logits(self, rows: slice, columns: slice) -> Tensor:
        """Form one tile [n, c] in the buffer; the scale goes with the states, which are fewer than the logits."""
        states, weight = self.states(rows), self.weight(columns)
        if self.inner != 1.0:
            states = states * self.inner
        tile = self.buffer[: len(states) * len(weight)].view(len(states), len(weight))
        if self.head.bias is None:
            torch.mm(states, weight.T, out=tile)
        else:
            torch.addmm(wide(self.head.bias[columns]) * self.inner, states, weight.T, out=tile)
        return tile if self.head.softcap is None else tile.tanh_().mul_(self.outer)

    def slope(self, logits: Tensor) -> Tensor | float:
        """Derivative of final logits by projected ones."""
        if self.head.softcap is None:
            return self.inner
        return (logits / self.outer).square_().neg_().add_(1.0).mul_(self.outer * self.inner)


def _inside(ids: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Say which ids [n, K] lie in a tile, and in which of its columns (column 0 for the others)."""
    inside = (ids >= columns.start) & (ids < columns.stop)
    return inside, torch.where(inside, ids - columns.start, 0)


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        ids: Tensor,
        temperature: float,
        budget_bytes: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tiles = _Tiles(head, temperature, budget_bytes)
        picked = hidden.new_empty(ids.shape, dtype=tiles.dtype)
        state = _Running(len(ids), picked)
        for rows, columns in tiles:
            tile = tiles.logits(rows, columns)
            inside, local = _inside(ids[rows], columns)
            picked[rows] = torch.where(inside, tile.gather(1, local), picked[rows])
            state.fold(tile, rows, with_entropy)
        rest = state.total.log()
        ctx.save_for_backward(hidden, weight, bias, ids, state.top, rest)
        ctx.given = head, temperature, budget_bytes
        entropy = state.entropy if with_entropy else picked.new_empty(0)
        peak = -rest
        ctx.mark_non_differentiable(entropy, peak)
        return picked.sub_(state.top.unsqueeze(1)).sub_(rest.unsqueeze(1)), entropy, peak

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Any, ...]:
        hidden, weight, bias, ids, top, rest = ctx.saved_tensors
        tiles, inputs = _Tiles(*ctx.given), (hidden, weight, bias)
        grads = [
            torch.zeros(x.shape, dtype=tiles.dtype, device=x.device) if w and x is not None else None
            for w, x in zip(ctx.needs_input_grad[:3], inputs)
        ]
        capped = tiles.head.softcap is not None
        cap = top.new_full((1,), tiles.outer) if capped else None
        mass = upstream.sum(1).mul_(-tiles.outer * tiles.inner)
        for rows, columns in tiles:
            tile = tiles.logits(rows, columns)
            inside, local = _inside(ids[rows], columns)
            own = upstream[rows] * tiles.slope(tile.gather(1, local))
            _gradient(tile, top[rows], rest[rows], mass[rows], cap=cap)
            tile.scatter_add_(1, local, torch.where(inside, own, 0.0))
            if grads[0] is not None:
                grads[0][rows].addmm_(tile, tiles.weight(columns))
            if grads[1] is not None:
                grads[1][columns].addmm_(tile.T, tiles.states(rows))
            if grads[2] is not None:
                grads[2][columns] += tile.sum(0)
        results = (None if g is None else g.to(x.dtype) for g, x in zip(grads, inputs))
        return (*results, None, None, None, None, None)
