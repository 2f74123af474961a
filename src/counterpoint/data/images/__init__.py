"""Images with or without labels, captions or partners: folders, arrays, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.images.load import Images, load_images

__all__ = ["Images", "load_images"]

__getattr__ = lazy(__name__, load=("Images", "load_images"))
