"""Whether answers to one prompt go through a language model behind one copy of it. Knows nothing of torch.

``auto`` shares where that saves time and no dropout is active, ``on`` wherever the model can, ``off`` never. Sharing
changes no result beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from counterpoint.errors import CounterpointError, nearest

MODES = ("auto", "on", "off")
_override: ContextVar[str | None] = ContextVar("counterpoint_share_prompts", default=None)


def sharing() -> str:
    """Return the mode in force: the innermost ``share_prompts``, else COUNTERPOINT_SHARE_PROMPTS, else "auto".

    Raises:
        CounterpointError: the environment names no mode.
    """
    return _override.get() or _checked(os.environ.get("COUNTERPOINT_SHARE_PROMPTS") or "auto")


@contextmanager
def share_prompts(mode: str) -> Iterator[None]:
    """Set the mode within a ``with`` block.

    >>> with share_prompts("off"):
    ...     sharing()
    'off'
    """
    token = _override.set(_checked(mode))
    try:
        yield
    finally:
        _override.reset(token)


def _checked(mode: str) -> str:
    if mode not in MODES:
        raise CounterpointError(
            f"share_prompts is '{mode}'; expected one of {', '.join(MODES)} ({nearest(mode, MODES)}); "
            'for example share_prompts("off") or COUNTERPOINT_SHARE_PROMPTS=off'
        )
    return mode
