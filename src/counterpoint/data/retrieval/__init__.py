"""Documents, queries, and which document answers which query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.retrieval.load import Retrieval, load_retrieval

__all__ = ["Retrieval", "load_retrieval"]

__getattr__ = lazy(__name__, load=("Retrieval", "load_retrieval"))
