"""One side's logits chunk by chunk, and the products that carry a logit gradient back to hidden states and weight.

Half-precision weights are widened one vocabulary tile at a time, so sums run in float32 and no wide copy of the head
exists. Axes: N positions, n rows of a chunk, V vocabulary, d width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoint.kernels.products import times, times_transposed
from counterpoint.kernels.scores import Head, Scores, wide

RowIndex = slice | Tensor
WIDEN_ELEMENTS = 2**20
EVERYTHING = slice(None)


class Projection:
    """Scores over N flat positions, with temperature, scale and soft-cap folded in.

    Args:
        scores: logits [N, V] or a head over hidden [N, d].
        temperature: divides the logits.
        index: positions to use, [n'] integers; None for all. Only dense logits need it, so as not to be copied.
    """

    def __init__(self, scores: Scores, temperature: float, index: Tensor | None = None) -> None:
        self.index = index
        self.softcap: float | None = None
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.factor = 1.0 / temperature
        if isinstance(scores, Head):
            self.hidden, self.weight, self.bias = scores.hidden.detach(), scores.weight.detach(), scores.bias
            self.softcap = scores.softcap
            self.inner = scores.scale / (scores.softcap or temperature)
            self.outer = 1.0 if scores.softcap is None else scores.softcap / temperature
        else:
            self.hidden = scores.detach()
        self.dtype = wide(scores.hidden[:0] if isinstance(scores, Head) else scores[:0]).dtype

    def __len__(self) -> int:
        return len(self.hidden) if self.index is None else len(self.index)

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.hidden.shape[1] if self.weight is None else self.weight.shape[0]

    def states(self, rows: RowIndex) -> Tensor:
        """Return the hidden states (or dense logits) of a chunk, float32 or wider."""
        return wide(self.hidden[rows if self.index is None else self.index[rows]])

    def logits(self, rows: RowIndex, out: Tensor) -> Tensor:
        """Write a chunk's logits over the temperature into ``out`` [at least n, V]; return the part written."""
        states = self.states(rows)
        out = out[: len(states)]
        if self.weight is None:
            return torch.mul(states, self.factor, out=out)
        for tile, weight in self._tiles():
            times_transposed(states, weight, out[:, tile])
        if self.bias is not None:
            out.add_(wide(self.bias.detach()))
        if self.inner != 1.0:
            out.mul_(self.inner)
        if self.softcap is not None:
            out.tanh_()
            if self.outer != 1.0:
                out.mul_(self.outer)
        return out

    def slope(self, z: Tensor) -> Tensor | None:
        """Derivative of the final logits by the projected ones where it varies (soft-cap); overwrites z."""
        if self.softcap is None:
            return None
        return z.div_(self.outer).square_().neg_().add_(1.0).mul_(self.outer * self.inner)

    @property
    def constant_slope(self) -> float:
        """Derivative of the final logits by the projected ones without soft-cap."""
        return self.factor if self.weight is None else self.inner

    def hidden_gradient(self, g: Tensor) -> Tensor:
        """Return ``g W`` [n, d]."""
        assert self.weight is not None
        total: Tensor | None = None
        for tile, weight in self._tiles():
            part = times(g[:, tile], weight)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total

    def _tiles(self) -> Iterator[tuple[slice, Tensor]]:
        assert self.weight is not None
        if self.weight.dtype == self.dtype:
            yield EVERYTHING, self.weight
            return
        width = max(1, WIDEN_ELEMENTS // self.weight.shape[1])
        for start in range(0, self.weight.shape[0], width):
            tile = slice(start, min(start + width, self.weight.shape[0]))
            yield tile, self.weight[tile].to(self.dtype)
