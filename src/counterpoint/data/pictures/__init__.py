"""Images with prompts, for models that make pictures: classes, groups of classes, or captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.pictures.load import Pictures, load_pictures

__all__ = ["Pictures", "load_pictures"]

__getattr__ = lazy(__name__, load=("Pictures", "load_pictures"))
