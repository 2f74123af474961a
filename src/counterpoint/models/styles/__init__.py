"""Models that bring pictures from one of two domains into the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.styles.restyler import Restyler, load_restyler

__all__ = ["Restyler", "load_restyler"]

__getattr__ = lazy(__name__, restyler=("Restyler", "load_restyler"))
