"""A small diffusion transformer with two times: patches of a noisy picture in, the velocity there out.

The blocks are those of DiT (arXiv 2212.09748): attention and a network after normalisations whose scale, shift and gate come
from an embedding e, the gates 0 at first. Here e = MLP(sin t) + MLP(sin(t - s)) + prompt (Self-E 2512.22374); with s = t it is the
ordinary one. With one patch as large as the picture it is a residual network of two layers a block.

Shapes: N pictures, C channels, H by W pixels, L patches, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from counterpoint.models.pictures.denoiser import Conditioning
from counterpoint.models.pictures.patches import Patched, modulated


class Block(nn.Module):
    """Attention and a network, both scaled, shifted and gated by the embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h_NLD: Tensor, e_ND: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(e_ND)[:, None].chunk(6, -1)
        h_NLD = h_NLD + gate1 * self._attend(modulated(h_NLD, shift1, scale1))
        return h_NLD + gate2 * self.mlp(modulated(h_NLD, shift2, scale2))

    def _attend(self, h_NLD: Tensor) -> Tensor:
        count, length, width = h_NLD.shape
        if length == 1:  # attention to itself alone: its own value
            return self.out(self.qkv(h_NLD)[..., 2 * width :])
        heads = self.qkv(h_NLD).view(count, length, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DiT(Patched):
    """The denoiser; prompts are numbers of classes or vectors of captions (``models.pictures.prompts``).

    Args:
        shape: channels, height and width of the pictures, which are in [-1, 1].
        patch: pixels of a patch's side.
        width, depth, heads: of the transformer.
        names: of the classes that are prompts.
        text_dim: width of captions' vectors, where prompts are captions. text_encoder: what makes them.
        sampling: how pictures are drawn (``generation.flow_sampler.Sampling``), as a method leaves it.
        tap, conditioning: see ``Denoiser.read_at``.

    >>> import torch
    >>> net = DiT((1, 8, 8), patch=4, width=16, depth=1, names=("odd", "even"))
    >>> half = torch.full((3,), 0.5)
    >>> net(torch.randn(3, 1, 8, 8), half, half, torch.tensor([0, 1, -1])).shape
    torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        patch: int = 2,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        names: Sequence[str] = (),
        text_dim: int = 0,
        text_encoder: str = "",
        sampling: Mapping[str, Any] | None = None,
        tap: int = 0,
        conditioning: Conditioning = "none",
    ) -> None:
        super().__init__(shape, patch, width, depth, names, text_dim, text_encoder, sampling)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self._ended()
        self.read_at(tap, conditioning)

    def begin(self, x_NCHW: Tensor) -> Tensor:
        """Patches [N, L, D], with where they are."""
        return self.cut(x_NCHW)

    def layer(self, number: int, state: Tensor, c_ND: Tensor) -> Tensor:
        """[N, L, D] -> [N, L, D]."""
        return self.blocks[number - 1](state, c_ND)

    def pooled(self, state: Tensor) -> Tensor:
        """The mean over patches, [N, D]."""
        return state.mean(1)

    def end(self, state: Tensor, c_ND: Tensor) -> Tensor:
        """[N, L, D] -> [N, C, H, W]."""
        return self.joined(state, c_ND)
