"""Text encoders and what stands on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.models.text.encoder import TextClassifier, with_linear_head

__all__ = ["TextClassifier", "with_linear_head"]

__getattr__ = lazy(__name__, encoder=("TextClassifier", "with_linear_head"))
