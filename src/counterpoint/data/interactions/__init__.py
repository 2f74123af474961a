"""What users did with items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.interactions.load import Interactions, load_interactions

__all__ = ["Interactions", "load_interactions"]

__getattr__ = lazy(__name__, load=("Interactions", "load_interactions"))
