"""Numeric targets of table rows and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.regression.load import Regression, load_regression

__all__ = ["Regression", "load_regression"]

__getattr__ = lazy(__name__, load=("Regression", "load_regression"))
