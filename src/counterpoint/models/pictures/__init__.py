"""Models that make pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.pictures.dit import DiT, load_denoiser

__all__ = ["DiT", "load_denoiser"]

__getattr__ = lazy(__name__, dit=("DiT", "load_denoiser"))
