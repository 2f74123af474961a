"""Reference denoisers by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from counterpoint.errors import CounterpointError, nearest
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.models.pictures.dit import DiT
from counterpoint.models.pictures.unet import UNet
from counterpoint.models.pictures.uvit import UViT

MOST_PATCHES = 64
"""Patches of a picture, at most, where nobody says how large they are."""

SIZES: dict[str, tuple[type[Denoiser], dict[str, Any]]] = {
    "dit-small": (DiT, {"width": 128, "depth": 2, "heads": 4}),
    "dit-base": (DiT, {"width": 384, "depth": 8, "heads": 6}),
    "dit-narrow": (DiT, {"width": 48, "depth": 5, "heads": 4}),
    "uvit-small": (UViT, {"width": 96, "depth": 5, "heads": 4}),
    "uvit-base": (UViT, {"width": 384, "depth": 9, "heads": 6}),
    "unet-small": (UNet, {"width": 32, "multipliers": (1, 2), "blocks": 1}),
    "unet-base": (UNet, {"width": 128, "multipliers": (2, 2, 2), "blocks": 4}),
}


def load_denoiser(
    spec: str,
    shape: tuple[int, int, int],
    *,
    names: Sequence[str] = (),
    text_dim: int = 0,
    text_encoder: str = "",
    seed: int = 0,
) -> Denoiser:
    """Build a reference denoiser such as "dit-small" for pictures of this shape, with as large patches as follow a colon.

    Args:
        spec: the name; without a number patches are chosen, from 2 pixels on, such that there are at most 64. A UNet has no patches.
        names, text_dim, text_encoder: of the prompts, see ``Denoiser``.
        seed: of the initial weights.

    Raises:
        CounterpointError: another name, or patches that do not divide the picture.

    >>> load_denoiser("unet-small", (1, 8, 8)).depth
    5
    """
    name, _, given = spec.partition(":")
    if name not in SIZES or (given and not given.isdigit()):
        raise CounterpointError(
            f"model '{spec}': neither a reference model ({nearest(name, SIZES)}) nor a folder with config.json; give one of "
            f"{', '.join(SIZES)}, such as dit-small:4 for patches of 4 pixels, or a folder that a run wrote"
        )
    kind, options = SIZES[name]
    if kind is UNet and given:
        raise CounterpointError(f"model '{spec}': a UNet reads pixels and has no patches; write {name}")
    if kind is not UNet:
        options = {**options, "patch": int(given or chosen_patch(shape))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(shape, names=names, text_dim=text_dim, text_encoder=text_encoder, **options)


def chosen_patch(shape: tuple[int, int, int]) -> int:
    """The smallest side of a patch, from 2 pixels on, that gives at most 64 patches.

    >>> chosen_patch((1, 8, 8)), chosen_patch((3, 64, 64)), chosen_patch((3, 24, 24))
    (2, 8, 3)
    """
    _, height, width = shape
    common = math.gcd(height, width)
    sides = [side for side in range(2, common + 1) if common % side == 0] or [1]
    return next((side for side in sides if height * width // side**2 <= MOST_PATCHES), sides[-1])
