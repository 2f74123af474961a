"""Models that make pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.pictures.denoiser import Denoiser
    from counterpoint.models.pictures.dit import DiT
    from counterpoint.models.pictures.loading import load_denoiser
    from counterpoint.models.pictures.unet import UNet
    from counterpoint.models.pictures.uvit import UViT

__all__ = ["Denoiser", "DiT", "UNet", "UViT", "load_denoiser"]

__getattr__ = lazy(
    __name__,
    denoiser=("Denoiser",),
    dit=("DiT",),
    loading=("load_denoiser",),
    unet=("UNet",),
    uvit=("UViT",),
)
