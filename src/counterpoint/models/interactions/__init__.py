"""Recommenders of users and items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.interactions.recommender import Recommender

__all__ = ["Recommender"]

__getattr__ = lazy(__name__, recommender=("Recommender",))
