"""A small U-Net of residual blocks: down in resolution, attention at the lowest, up again with the states of the way down.

Blocks are those of DDPM++ in little (arXiv 2006.11239, 2011.13456): group normalisation whose scale and shift come from the vector
that steers them. Layers are counted along the way: down, middle, up; the usual one to read is the last of the first stage upwards
(DDAE++ 2505.10999). Shapes: N pictures, D channels of a level, H by W its pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.models.pictures.denoiser import Conditioning, Denoiser

State = tuple[Tensor, tuple[Tensor, ...]]
"""A map [N, D, H, W], and those of the way down that wait for their counterparts."""


def groups_of(channels: int) -> int:
    """At most 8 groups that divide the channels."""
    return math.gcd(channels, 8)


class Residual(nn.Module):
    """Two convolutions with the steering between them; attention behind where asked for."""

    def __init__(self, given: int, channels: int, width: int, attends: bool = False) -> None:
        super().__init__()
        self.norm1, self.first = (
            nn.GroupNorm(groups_of(given), given),
            nn.Conv2d(given, channels, 3, padding=1),
        )
        self.steer = nn.Linear(width, 2 * channels)
        self.norm2 = nn.GroupNorm(groups_of(channels), channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]
        self.across = nn.Conv2d(given, channels, 1) if given != channels else nn.Identity()
        self.attention = Attention(channels) if attends else nn.Identity()

    def forward(self, h_NDHW: Tensor, c_NE: Tensor) -> Tensor:
        """[N, D, H, W] -> [N, D', H, W]."""
        h = self.first(functional.silu(self.norm1(h_NDHW)))
        scale, shift = self.steer(c_NE)[:, :, None, None].chunk(2, 1)
        h = self.second(functional.silu(self.norm2(h) * (1 + scale) + shift))
        return self.attention(self.across(h_NDHW) + h)


class Attention(nn.Module):
    """Attention of every pixel to every pixel, one head, 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups_of(channels), channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, h_NDHW: Tensor) -> Tensor:
        """[N, D, H, W] -> [N, D, H, W]."""
        q, k, v = self.qkv(self.norm(h_NDHW)).flatten(2).transpose(1, 2).chunk(3, -1)
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return h_NDHW + self.out(seen.reshape(h_NDHW.shape))


class UNet(Denoiser):
    """The denoiser.

    Args:
        shape, names, text_dim, text_encoder, sampling, tap, conditioning: see ``Denoiser``.
        width: channels of the first level; what steers the layers is as wide as the widest.
        multipliers: of the width at each level; a level has half the resolution of the one before.
        blocks: of each level on the way down, and on the way up.

    >>> net = UNet((1, 8, 8), width=8, multipliers=(1, 2), blocks=1)
    >>> half = torch.full((3,), 0.5)
    >>> net(torch.randn(3, 1, 8, 8), half, half, torch.tensor([-1, -1, -1])).shape
    torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 32,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        names: Sequence[str] = (),
        text_dim: int = 0,
        text_encoder: str = "",
        sampling: Mapping[str, Any] | None = None,
        tap: int = 0,
        conditioning: Conditioning = "none",
    ) -> None:
        levels, steering = len(multipliers), width * max(multipliers)
        super().__init__(shape, steering, 2 * levels * blocks + 1, names, text_dim, text_encoder, sampling)
        channels, height, width_px = self.shape
        self.patches, self.blocks, self.levels = height * width_px, blocks, levels
        if height % 2 ** (levels - 1) or width_px % 2 ** (levels - 1):
            raise CounterpointError(
                f"pictures of {height}x{width_px} pixels cannot be halved {levels - 1} times; give other pictures, --data-option size=N, "
                "or a model of patches, --model dit-small"
            )
        self.embed = nn.Conv2d(channels, width, 3, padding=1)
        self._steered(steering)
        wide = [width * each for each in multipliers]
        layers: list[Residual] = []
        now = width
        for level, each in enumerate(wide):
            for _ in range(blocks):
                layers.append(Residual(now, each, steering, level == levels - 1))
                now = each
        layers.append(Residual(now, now, steering, True))
        for level, each in reversed(list(enumerate(wide))):
            for _ in range(blocks):
                layers.append(Residual(now + each, each, steering, level == levels - 1))
                now = each
        self.layers = nn.ModuleList(layers)
        self.norm, self.head = nn.GroupNorm(groups_of(now), now), nn.Conv2d(now, channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.read_at(tap, conditioning)

    def usual_tap(self) -> int:
        """The last block of the first stage upwards."""
        return min(self.levels * self.blocks + 1 + self.blocks, self.depth - 1)

    def state_width(self, number: int) -> int:
        """The channels of a layer's level."""
        block: Any = self.layers[number - 1]
        return int(block.second.out_channels)

    def begin(self, x_NCHW: Tensor) -> State:
        """The first map; nothing waits."""
        return self.embed(x_NCHW), ()

    def layer(self, number: int, state: State, c_ND: Tensor) -> State:
        """A residual block, with the resolution halved before a new level and doubled after it."""
        h, waiting = state
        down = self.levels * self.blocks
        if number <= down:
            if number > 1 and (number - 1) % self.blocks == 0:
                h = functional.avg_pool2d(h, 2)
            h = self.layers[number - 1](h, c_ND)
            return h, (*waiting, h)
        if number == down + 1:
            return self.layers[number - 1](h, c_ND), waiting
        if number > down + 2 and (number - down - 2) % self.blocks == 0:
            h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
        return self.layers[number - 1](torch.cat([h, waiting[-1]], 1), c_ND), waiting[:-1]

    def pooled(self, state: State) -> Tensor:
        """The mean over pixels, as wide as the level; [N, D]."""
        return state[0].mean((2, 3))

    def end(self, state: State, c_ND: Tensor) -> Tensor:
        """The last map as [N, C, H, W]."""
        return self.head(functional.silu(self.norm(state[0])))
