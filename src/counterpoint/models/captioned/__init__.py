"""Two towers for images and captions, and denoisers that read captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.captioned.clip import TwoTowers, load_towers

__all__ = ["TwoTowers", "load_towers"]

__getattr__ = lazy(__name__, clip=("TwoTowers", "load_towers"))
