"""counterpoint: make a model better by contrast and by distillation.

Importing the package loads no torch; the functions below import what they need when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterpoint._moved import install as _install

__version__ = "0.1.0"

_install()

__all__ = [
    "CounterpointError",
    "ablate",
    "compare",
    "load",
    "predict",
    "push",
    "recommend",
    "report",
    "reproduce",
    "resume",
    "run",
    "tune",
]

if TYPE_CHECKING:
    from counterpoint.api import (
        ablate,
        compare,
        load,
        predict,
        push,
        recommend,
        report,
        reproduce,
        resume,
        run,
        tune,
    )
    from counterpoint.errors import CounterpointError


def __getattr__(name: str) -> Any:
    """Resolve the public functions when they are first asked for."""
    if name in __all__:
        from counterpoint import api

        return getattr(api, name)
    raise AttributeError(f"module 'counterpoint' has no attribute '{name}'")
