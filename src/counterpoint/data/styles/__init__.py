"""Pictures of two domains, plain and styled, as two folders or as pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.styles.load import load_styles
    from counterpoint.data.styles.sets import Styles

__all__ = ["Styles", "load_styles"]

__getattr__ = lazy(__name__, load=("load_styles",), sets=("Styles",))
