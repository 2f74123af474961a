"""Which path the kernels take, and how many bytes they may use. Knows nothing of torch.

``plain`` forms whole matrices (exact in any dtype, differentiable twice), ``stream`` works in blocks within a byte
budget, ``auto`` takes the plain path when its matrices fit the budget. The path never changes a result beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from counterpoint.errors import CounterpointError, nearest

PATHS = ("auto", "plain", "stream")
DEFAULT_BYTES = 64 * 2**20
SMALLEST_BYTES = 2**10


def tile_elements(device_type: str) -> int:
    """Entries that elementwise work takes at once: what stays in a core's cache, or what keeps an accelerator busy.

    >>> tile_elements("cpu")
    131072
    """
    return 2**17 if device_type == "cpu" else 2**22


@dataclass(frozen=True)
class KernelSettings:
    """The settings in force.

    Attributes:
        path: "auto", "plain" or "stream".
        budget_bytes: bytes of working buffers that a streaming kernel may hold at once, results apart.
    """

    path: str = "auto"
    budget_bytes: int = DEFAULT_BYTES

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise CounterpointError(
                f"unknown kernel path '{self.path}'; expected one of {', '.join(PATHS)} ({nearest(self.path, PATHS)}); "
                'for example kernel_path("stream") or COUNTERPOINT_KERNELS=stream'
            )
        if self.budget_bytes < SMALLEST_BYTES:
            raise CounterpointError(
                f"a kernel budget of {self.budget_bytes} bytes was given; expected at least {SMALLEST_BYTES}; "
                'for example kernel_path("stream", budget_bytes=64 * 2**20)'
            )

    def streams(self, plain_bytes: int) -> bool:
        """Say whether to stream, given what the plain path would hold at once.

        >>> KernelSettings("auto", 1024).streams(plain_bytes=4096)
        True
        """
        return self.path == "stream" or (self.path == "auto" and plain_bytes > self.budget_bytes)


def from_environment() -> KernelSettings:
    """Read COUNTERPOINT_KERNELS (auto, plain, stream) and COUNTERPOINT_KERNEL_BYTES (a whole number)."""
    given = os.environ.get("COUNTERPOINT_KERNEL_BYTES", str(DEFAULT_BYTES))
    try:
        budget_bytes = int(given)
    except ValueError:
        raise CounterpointError(
            f"COUNTERPOINT_KERNEL_BYTES is '{given}'; expected a whole number of bytes; for example 67108864"
        ) from None
    return KernelSettings(os.environ.get("COUNTERPOINT_KERNELS", "auto"), budget_bytes)


_override: ContextVar[KernelSettings | None] = ContextVar("counterpoint_kernels", default=None)


def settings() -> KernelSettings:
    """Return the settings in force: the innermost ``kernel_path``, else the environment's."""
    return _override.get() or from_environment()


@contextmanager
def kernel_path(path: str | None = None, *, budget_bytes: int | None = None) -> Iterator[KernelSettings]:
    """Set the path, the byte budget or both within a ``with`` block.

    >>> with kernel_path("stream", budget_bytes=2**20) as now:
    ...     now.path, settings().budget_bytes
    ('stream', 1048576)
    """
    now = settings()
    token = _override.set(
        KernelSettings(path or now.path, now.budget_bytes if budget_bytes is None else budget_bytes)
    )
    try:
        yield settings()
    finally:
        _override.reset(token)
