"""Numeric targets of table rows and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoint._lazy import lazy

if TYPE_CHECKING:
    from counterpoint.data.regression.load import load_regression
    from counterpoint.data.regression.splits import Regression

__all__ = ["Regression", "load_regression"]

__getattr__ = lazy(__name__, load=("load_regression",), splits=("Regression",))
