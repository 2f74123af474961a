"""Texts with or without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.text.load import Texts, build, load_texts

__all__ = ["Texts", "build", "load_texts"]

__getattr__ = lazy(__name__, load=("Texts", "load_texts", "build"))
