"""A small generator that restyles in one pass, in both directions: y = clamp(x + r(x, c), -1, 1).

c is the prompt of the domain that comes out, through the adapter of that domain. The residual r is 0 at first: like a pretrained one-step
model the generator starts near the identity, without which cycle and GAN terms settle on whatever map can be undone (the reversed
polarity, for one). Convolutions only, so that pictures may be of any size. Shapes: N pictures, C channels, H by W pixels, P prompts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError, nearest
from counterpoint.models.model_folders import Saved
from counterpoint.models.styles.adapted import Mode
from counterpoint.models.styles.domains import Domain
from counterpoint.models.styles.generator import Generator, named
from counterpoint.models.styles.prompt_encoder import PromptEncoder

SIZES: dict[str, dict[str, Any]] = {
    "restyler-small": {"width": 12, "blocks": 1},
    "restyler-base": {"width": 48, "blocks": 4},
}


class Film(nn.Module):
    """A convolution block, scaled and shifted by the prompt; its input is added."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.prompt = nn.Linear(text, 2 * width)

    def forward(self, h_NCHW: Tensor, c_ND: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        scale, shift = self.prompt(c_ND)[:, :, None, None].chunk(2, 1)
        inner = functional.silu(self.conv1(h_NCHW)) * (1 + scale) + shift
        return h_NCHW + self.conv2(functional.silu(inner))


class Restyler(Saved, Generator):
    """The generator of both directions with its prompts.

    Args:
        shape: channels, height and width of the pictures that it learns from, in [-1, 1].
        width: channels of its first level. blocks: on the level of half the size.
        prompts: domain -> its prompts.
        text_width: D. adapters, rank, scale: of the prompts' encoder, as a method leaves them.

    >>> net = Restyler((1, 8, 8), prompts={"plain": ["a photo"], "styled": ["a drawing", "a sketch"]})
    >>> net(torch.zeros(3, 1, 7, 9), torch.tensor([0, 1, 0]), "styled").shape
    torch.Size([3, 1, 7, 9])
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 12,
        blocks: int = 1,
        prompts: Mapping[str, Sequence[str]] | None = None,
        text_width: int = 16,
        adapters: Mode = "frozen",
        rank: int = 4,
        scale: float = 0.5,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.prompts = named(prompts)
        self.adapters: dict[str, Any] = {"adapters": adapters, "rank": rank, "scale": scale}
        self.grids: dict[str, Tensor] = {}
        channels = self.shape[0]
        self.text = PromptEncoder(text_width)
        self.text.adapt(adapters, rank, scale)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.outer = Film(width, text_width)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.inner = nn.ModuleList(Film(2 * width, text_width) for _ in range(blocks))
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.last = Film(width, text_width)
        self.leave = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)

    def adapt(self, mode: Mode, rank: int, scale: float) -> None:
        """Give the prompts' encoder new adapters, unless it has such."""
        wanted = {"adapters": mode, "rank": rank, "scale": scale}
        if wanted != self.adapters:
            self.text.adapt(mode, rank, scale)
            self.adapters = wanted

    def embed(self, domain: Domain) -> Tensor:
        """[P, D] the domain's prompts, through its adapter."""
        return self.text(self.prompts[domain], domain)

    def forward(self, x_NCHW: Tensor, prompt_N: Tensor, towards: Domain) -> Tensor:
        """Pictures in [-1, 1] brought into a domain, by its prompts of these numbers; [N, C, H, W]."""
        c_ND = self.embed(towards)[prompt_N]
        height, width = x_NCHW.shape[2:]
        x = functional.pad(x_NCHW, (0, width % 2, 0, height % 2), mode="replicate")
        h = outer = self.outer(functional.silu(self.enter(x)), c_ND)
        h = functional.silu(self.down(h))
        for block in self.inner:
            h = block(h, c_ND)
        h = outer + functional.silu(self.up(functional.interpolate(h, scale_factor=2.0, mode="nearest")))
        residual = self.leave(functional.silu(self.last(h, c_ND)))
        return (x_NCHW + residual[:, :, :height, :width]).clamp(-1, 1)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write the folder; grids that a method left go to folders of their own beside the weights."""
        stated: dict[str, Any] = dict(self._hub_mixin_config or {})  # type: ignore[arg-type]
        prompts = {domain: list(texts) for domain, texts in self.prompts.items()}
        self._hub_mixin_config = {**stated, **self.adapters, "prompts": prompts}
        result = super().save_pretrained(save_directory, **options)
        self.draw_grids(Path(save_directory))
        return result


def load_restyler(
    spec: str, shape: tuple[int, int, int], prompts: Mapping[str, Sequence[str]], seed: int = 0
) -> Restyler:
    """Build "restyler-small" or "restyler-base" from a seed.

    Raises:
        CounterpointError: another name.
    """
    if spec not in SIZES:
        raise CounterpointError(
            f"model '{spec}': neither a reference model ({nearest(spec, SIZES)}) nor a folder with config.json; give one of "
            f"{', '.join(SIZES)}, or a folder that a run wrote"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Restyler(shape, prompts={name: list(each) for name, each in prompts.items()}, **SIZES[spec])
