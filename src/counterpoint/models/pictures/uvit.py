"""A small U-ViT: a transformer whose second half also reads the states of its first, with a token that collects what a picture is of.

Long skip connections as in arXiv 2209.12152; blocks scaled and gated as ``dit``'s; the state of the collecting token at a layer is
that layer's pooled state (DDAE++ 2505.10999). Shapes as in ``dit``, with the token in front: L + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.models.pictures.denoiser import Conditioning
from counterpoint.models.pictures.dit import Block
from counterpoint.models.pictures.patches import Patched

State = tuple[Tensor, tuple[Tensor, ...]]
"""Tokens [N, L + 1, D], and the states of the first half that wait for their counterparts."""


class UViT(Patched):
    """The denoiser.

    Args:
        shape, names, text_dim, text_encoder, sampling, tap, conditioning: see ``Denoiser``.
        patch: pixels of a patch's side.
        width, depth, heads: of the transformer; ``depth // 2`` blocks at the end read those at the start.

    >>> net = UViT((1, 8, 8), patch=4, width=16, depth=3)
    >>> half = torch.full((3,), 0.5)
    >>> net(torch.randn(3, 1, 8, 8), half, half, torch.tensor([-1, -1, -1])).shape
    torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        patch: int = 2,
        width: int = 96,
        depth: int = 5,
        heads: int = 4,
        names: Sequence[str] = (),
        text_dim: int = 0,
        text_encoder: str = "",
        sampling: Mapping[str, Any] | None = None,
        tap: int = 0,
        conditioning: Conditioning = "none",
    ) -> None:
        super().__init__(shape, patch, width, depth, names, text_dim, text_encoder, sampling)
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.skips = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth // 2))
        self._ended()
        self.read_at(tap, conditioning)

    def begin(self, x_NCHW: Tensor) -> State:
        """The collecting token and the patches; nothing waits."""
        h = self.cut(x_NCHW)
        return torch.cat([self.token.to(h.dtype).expand(len(h), 1, -1), h], 1), ()

    def layer(self, number: int, state: State, c_ND: Tensor) -> State:
        """A block; in the second half after a mixture with the first half's state that waits longest in depth."""
        h, waiting = state
        half = self.depth // 2
        if number > self.depth - half:
            h = self.skips[number - 1 - (self.depth - half)](torch.cat([h, waiting[-1]], -1))
            waiting = waiting[:-1]
        h = self.blocks[number - 1](h, c_ND)
        return h, (*waiting, h) if number <= half else waiting

    def pooled(self, state: State) -> Tensor:
        """The collecting token, [N, D]."""
        return state[0][:, 0]

    def end(self, state: State, c_ND: Tensor) -> Tensor:
        """The patches as [N, C, H, W]."""
        return self.joined(state[0][:, 1:], c_ND)
