"""Log-probabilities of a head tile by tile over the vocabulary, for losses whose factors nobody can foresee.

Preference and policy-gradient losses weigh each position by what all positions say, so a gradient summed over positions
cannot be formed in the forward. The forward keeps the normalisers; the backward forms each tile once more and writes
each row of the weight's gradient once: 4 products of N x V x d, whatever the factors.

Peak bytes above the inputs, with w bytes per element (4, or 8 for float64):
``V d w`` (trainable head: its gradient) ``+ N d w`` (the gradient of the hidden states) ``+ budget_bytes``.
Axes: N positions, V vocabulary, d width, K entries per position; n and c, positions and columns of one tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.kernels.config import tile_elements
from counterpoint.kernels.products import times, times_transposed
from counterpoint.kernels.scores import Head, wide

MOST_POSITIONS = 4096


def tiled_log_probs(
    head: Head, ids: Tensor, temperature: float, budget_bytes: int, with_entropy: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return log-probabilities [N, K] of ids [N, K], if wanted the detached entropy [N], and the likeliest entry's log-probability
    [N], detached; hidden is [N, d].
    """
    values, entropy, peak = _Tiled.apply(
        head.hidden, head.weight, head.bias, head, ids, temperature, budget_bytes, with_entropy
    )
    return values, entropy if with_entropy else None, peak


class _Tiles:
    """Blocks of final logits of one head."""

    def __init__(self, head: Head, temperature: float, budget_bytes: int, buffers: int) -> None:
        self.head, self.dtype = head.detach(), wide(head.hidden[:0]).dtype
        self.inner = head.scale / (head.softcap or temperature)
        self.outer = 1.0 if head.softcap is None else head.softcap / temperature
        count, vocabulary = len(head.hidden), head.vocabulary
        room = max(
            budget_bytes - 3 * tile_elements(head.hidden.device.type) * self.dtype.itemsize, budget_bytes // 2
        )
        elements = max(1, room // (buffers * self.dtype.itemsize))
        self.height = max(1, min(count, MOST_POSITIONS, elements))
        self.width = max(1, min(vocabulary, elements // self.height))
        self.buffer = head.hidden.new_empty(self.height * self.width, dtype=self.dtype)

    def rows(self) -> Iterator[slice]:
        """Blocks of positions."""
        count = len(self.head.hidden)
        return (slice(s, min(s + self.height, count)) for s in range(0, count, self.height))

    def columns(self) -> Iterator[slice]:
        """Blocks of the vocabulary."""
        count = self.head.vocabulary
        return (slice(s, min(s + self.width, count)) for s in range(0, count, self.width))

    def states(self, rows: slice) -> Tensor:
        """Hidden states of a block."""
        return wide(self.head.hidden[rows])

    def logits(self, states: Tensor, columns: slice) -> Tensor:
        """Form one tile [n, c] in the buffer."""
        weight = wide(self.head.weight[columns])
        out = self.buffer[: len(states) * len(weight)].view(len(states), len(weight))
        tile = times_transposed(states, weight, out)
        if self.head.bias is not None:
            tile.add_(wide(self.head.bias[columns]))
        if self.inner != 1.0:
            tile.mul_(self.inner)
        if self.head.softcap is not None:
            tile.tanh_()
            if self.outer != 1.0:
                tile.mul_(self.outer)
        return tile

    def slope(self, strip: Tensor) -> Tensor | float:
        """Derivative of final logits by projected ones."""
        if self.head.softcap is None:
            return self.inner
        return (strip / self.outer).square_().neg_().add_(1.0).mul_(self.outer * self.inner)


def _strips(tile: Tensor) -> Iterator[slice]:
    height = max(1, tile_elements(tile.device.type) // tile.shape[1])
    return (slice(s, min(s + height, len(tile))) for s in range(0, len(tile), height))


def _inside(ids: Tensor, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Find the entries [n, K] that lie in a tile: their rows, their places among K, their columns of the tile."""
    row, choice = ((ids >= columns.start) & (ids < columns.stop)).nonzero(as_tuple=True)
    return row, choice, ids[row, choice] - columns.start


class _Tiled(torch.autograd.Function):
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
        tiles = _Tiles(head, temperature, budget_bytes, buffers=1)
        picked = hidden.new_empty(ids.shape, dtype=tiles.dtype)
        top = picked.new_full((len(ids), 1), torch.finfo(tiles.dtype).min)
        total, mean = torch.zeros_like(top), torch.zeros_like(top)
        for rows in tiles.rows():
            states = tiles.states(rows)
            for columns in tiles.columns():
                tile = tiles.logits(states, columns)
                row, choice, column = _inside(ids[rows], columns)
                picked[rows][row, choice] = tile[row, column]
                for strip in _strips(tile):
                    _fold(
                        tile[strip],
                        top[rows][strip],
                        total[rows][strip],
                        mean[rows][strip] if with_entropy else None,
                    )
        rest = total.log()
        ctx.save_for_backward(hidden, weight, bias, ids, top, rest)
        ctx.given = head, temperature, budget_bytes
        # mean holds sum_v p_v (z_v - top), so the entropy needs no large number.
        entropy = (rest - mean / total).squeeze(1) if with_entropy else picked.new_empty(0)
        peak = rest.squeeze(1).neg()
        ctx.mark_non_differentiable(entropy, peak)
        return picked.sub_(top).sub_(rest), entropy, peak

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Any, ...]:
        hidden, weight, bias, ids, top, rest = ctx.saved_tensors
        head, temperature, budget_bytes = ctx.given
        tiles = _Tiles(head, temperature, budget_bytes, buffers=1)
        wants = ctx.needs_input_grad[:3]
        grads = [
            torch.zeros(x.shape, dtype=tiles.dtype, device=x.device) if w and x is not None else None
            for w, x in zip(wants, (hidden, weight, bias))
        ]
        mass = upstream.sum(1, keepdim=True).neg_()
        for rows in tiles.rows():
            states = tiles.states(rows)
            for columns in tiles.columns():
                tile = tiles.logits(states, columns)
                row, choice, column = _inside(ids[rows], columns)
                own = tile[row, column]
                for strip in _strips(tile):
                    part = tile[strip]
                    slope = tiles.slope(part)
                    part.sub_(top[rows][strip]).sub_(rest[rows][strip]).exp_().mul_(mass[rows][strip])
                    if isinstance(slope, Tensor) or slope != 1.0:
                        part.mul_(slope)
                tile.index_put_(
                    (row, column), upstream[rows][row, choice] * tiles.slope(own), accumulate=True
                )
                if grads[0] is not None:
                    grads[0][rows].add_(times(tile, wide(head.weight.detach()[columns])))
                if grads[1] is not None:
                    grads[1][columns].addmm_(tile.T, states)
                if grads[2] is not None:
                    grads[2][columns] += tile.sum(0)
        results = (None if g is None else g.to(x.dtype) for g, x in zip(grads, (hidden, weight, bias)))
        return (*results, None, None, None, None, None)


def _fold(part: Tensor, top: Tensor, total: Tensor, mean: Tensor | None) -> None:
    """Fold a strip of logits into the running maximum, sum and mean depth of its rows, in place."""
    here = torch.maximum(top, part.amax(1, keepdim=True))
    shrink = (top - here).exp_()
    part.sub_(here)
    weights = part.exp()
    if mean is not None:
        # What was summed under the old maximum lies deeper under the new one.
        deeper = torch.where(total > 0, total * (top - here), 0.0)
        depth = part.clamp_(min=torch.finfo(part.dtype).min) if bool((part == -math.inf).any()) else part
        mean.add_(deeper).mul_(shrink).add_(torch.linalg.vecdot(weights, depth).unsqueeze(1))
    total.mul_(shrink).add_(weights.sum(1, keepdim=True))
    top.copy_(here)
