"""A package's few public names, imported when they are first asked for: reading a package's name loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def lazy(package: str, **homes: tuple[str, ...]) -> Callable[[str], Any]:
    """A package's ``__getattr__``: each keyword is a module of the package, with the names that come from it.

    >>> lazy("counterpoint.data", tables=("require",))("requir")
    Traceback (most recent call last):
    AttributeError: module 'counterpoint.data' has no attribute 'requir'
    """
    home = {name: f"{package}.{module}" for module, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(home[name]), name)

    return __getattr__
