"""A small diffusion transformer with two times: patches of a noisy picture in, the velocity there out.

The blocks are those of DiT (arXiv 2212.09748): attention and a network after normalisations whose scale, shift and gate come
from an embedding e, the gates 0 at first. Here e = MLP(sin t) + MLP(sin(t - s)) + prompt (Self-E 2512.22374); with s = t it is the
ordinary one. With one patch as large as the picture it is a residual network of two layers a block.

Shapes: N pictures, C channels, H by W pixels, L patches, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError, nearest
from counterpoint.models.images.gallery import GALLERY, draw_gallery
from counterpoint.models.model_folders import Saved
from counterpoint.models.pictures.prompts import asks

MOST_PATCHES = 64
"""Patches of a picture, at most, where nobody says how large they are."""
TIME_SCALE = 1000.0
COLUMNS = 8
"""Pictures of one prompt, side by side in a grid."""


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


class DiT(Saved):
    """The denoiser; prompts are numbers of classes or vectors of captions (``models.pictures.prompts``).

    Args:
        shape: channels, height and width of the pictures, which are in [-1, 1].
        patch: pixels of a patch's side.
        width, depth, heads: of the transformer.
        names: of the classes that are prompts.
        text_dim: width of captions' vectors, where prompts are captions. text_encoder: what makes them.
        sampling: how pictures are drawn (``generation.flow_sampler.Sampling``), as a method leaves it.

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
    ) -> None:
        super().__init__()
        self.shape, self.patch, self.names = tuple(shape), patch, tuple(names)
        self.text_dim, self.text_encoder, self.sampling = text_dim, text_encoder, dict(sampling or {})
        self.grids: dict[str, Tensor] = {}
        channels, height, width_px = self.shape
        if height % patch or width_px % patch:
            raise CounterpointError(
                f"pictures of {height}x{width_px} pixels do not divide into patches of {patch}; give another patch, --model dit-small:N, "
                "or other pictures, --data-option size=N"
            )
        self.patches = (height // patch) * (width_px // patch)
        self.embed = nn.Linear(channels * patch * patch, width)
        self.time, self.gap = _mlp(width), _mlp(width)
        self.null = nn.Parameter(0.02 * torch.randn(width))
        self.classes = nn.Embedding(2 * len(self.names), width) if self.names else None
        self.text = nn.Linear(text_dim, width) if text_dim else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.modulation, self.head = nn.Linear(width, 2 * width), nn.Linear(width, channels * patch * patch)
        for layer in (self.modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("positions", grid_positions(height // patch, width_px // patch, width), False)

    def forward(self, x_NCHW: Tensor, t_N: Tensor, s_N: Tensor, prompts: Tensor) -> Tensor:
        """The velocity at x_t, for a step that aims at s <= t; [N, C, H, W]."""
        dim, dtype = self.null.shape[0], self.null.dtype
        e = self.time(waves(t_N, dim).to(dtype)) + self.gap(waves(t_N - s_N, dim).to(dtype))
        e = functional.silu(e + self._prompt(prompts))
        h = self.embed(functional.unfold(x_NCHW, self.patch, stride=self.patch).transpose(1, 2))
        h = h + self.get_buffer("positions").to(dtype)
        for block in self.blocks:
            h = block(h, e)
        h = self.head(modulated(h, *self.modulation(e)[:, None].chunk(2, -1)))
        return functional.fold(h.transpose(1, 2), self.shape[1:], self.patch, stride=self.patch)

    def _prompt(self, prompts: Tensor) -> Tensor:
        if prompts.is_floating_point() != (self.text is not None) and bool(asks(prompts).any()):
            raise CounterpointError(
                f"prompts are {'vectors' if prompts.is_floating_point() else 'classes'}, and this model reads "
                f"{'captions' if self.text is not None else 'classes: ' + ', '.join(self.names) if self.names else 'no prompts'}"
            )
        if prompts.is_floating_point():
            given = self.text(prompts) if self.text is not None else self.null
        else:
            given = self.classes(prompts.clamp(min=0)) if self.classes is not None else self.null
        return torch.where(asks(prompts)[:, None], given, self.null)

    def prompts_of(self, prompts: Sequence[str | None]) -> Tensor:
        """Prompts in words as the tensor that ``forward`` reads; None or "" asks for nothing.

        Raises:
            CounterpointError: a class that the model does not know, or words for a model without prompts.
        """
        if self.text is None:
            unknown = [each for each in prompts if each and each not in self.names]
            if unknown:
                raise CounterpointError(f"no prompt '{unknown[0]}'; {nearest(unknown[0], self.names)}")
            return torch.tensor([self.names.index(each) if each else -1 for each in prompts])
        from counterpoint.models.text.embedding import sentences

        texts = sorted({each for each in prompts if each})
        vectors = torch.zeros(len(prompts), self.text_dim)
        made = dict(zip(texts, torch.from_numpy(sentences(texts, spec=self.text_encoder)))) if texts else {}
        for row, each in enumerate(prompts):
            if each:
                vectors[row] = made[each]
        return vectors

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write the folder; grids of pictures that a method left go to folders of their own beside the weights."""
        self._hub_mixin_config = {**(self._hub_mixin_config or {}), "sampling": self.sampling}  # type: ignore[dict-item]
        result = super().save_pretrained(save_directory, **options)
        for name, pictures in self.grids.items():
            folder = Path(save_directory) / name
            folder.mkdir(exist_ok=True)
            draw_gallery(pictures.float() / 255, folder / GALLERY, columns=COLUMNS)
        return result


def modulated(h_NLD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised over D, scaled and shifted."""
    return functional.layer_norm(h_NLD, h_NLD.shape[-1:], eps=1e-6) * (1 + scale) + shift


def waves(values_N: Tensor, dim: int) -> Tensor:
    """[N] in [0, 1] -> [N, dim] sines and cosines."""
    half = dim // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=values_N.device) / max(half, 1))
    angles = TIME_SCALE * values_N[:, None] * rates.to(values_N.dtype)
    return functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, dim - 2 * half))


def grid_positions(rows: int, columns: int, dim: int) -> Tensor:
    """[rows * columns, dim]: half of the dimensions say which row a patch is in, half which column."""
    half = dim // 2
    at = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float() / TIME_SCALE
    return torch.cat([waves(at[:, 0], half), waves(at[:, 1], dim - half)], 1)


def load_denoiser(
    spec: str,
    shape: tuple[int, int, int],
    *,
    names: Sequence[str] = (),
    text_dim: int = 0,
    text_encoder: str = "",
    seed: int = 0,
) -> DiT:
    """Build "dit-small" or "dit-base" for pictures of this shape, with as large patches as follow a colon.

    Args:
        spec: the name; without a number patches are chosen, from 2 pixels on, such that there are at most 64.
        names, text_dim, text_encoder: of the prompts, see ``DiT``.
        seed: of the initial weights.

    Raises:
        CounterpointError: another name, or patches that do not divide the picture.
    """
    name, _, given = spec.partition(":")
    if name not in SIZES or (given and not given.isdigit()):
        raise CounterpointError(
            f"model '{spec}': neither a reference model ({nearest(name, SIZES)}) nor a folder with config.json; give one of "
            f"{', '.join(SIZES)}, such as dit-small:4 for patches of 4 pixels, or a folder that a run wrote"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DiT(
            shape,
            patch=int(given or chosen_patch(shape)),
            names=names,
            text_dim=text_dim,
            text_encoder=text_encoder,
            **SIZES[name],
        )


SIZES: dict[str, dict[str, Any]] = {
    "dit-small": {"width": 128, "depth": 2, "heads": 4},
    "dit-base": {"width": 384, "depth": 8, "heads": 6},
}


def chosen_patch(shape: tuple[int, int, int]) -> int:
    """The smallest side of a patch, from 2 pixels on, that gives at most 64 patches.

    >>> chosen_patch((1, 8, 8)), chosen_patch((3, 64, 64)), chosen_patch((3, 24, 24))
    (2, 8, 3)
    """
    _, height, width = shape
    common = math.gcd(height, width)
    sides = [side for side in range(2, common + 1) if common % side == 0] or [1]
    return next((side for side in sides if height * width // side**2 <= MOST_PATCHES), sides[-1])


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
