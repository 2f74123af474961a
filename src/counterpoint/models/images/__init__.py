"""Image encoders and what stands on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.images.encoders import load_encoder

__all__ = ["load_encoder"]

__getattr__ = lazy(__name__, encoders=("load_encoder",))
