"""Which path the kernels take, and how many bytes they may use. Knows nothing of torch.

``plain`` forms whole matrices (exact in any dtype, differentiable twice), ``stream`` works in blocks within a byte
budget, ``triton`` does the same with fused kernels on a GPU (triton_path.py), ``auto`` takes the plain path when its
matrices fit the budget, else the fused one where it can run. The path never changes a result beyond rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from counterpoint.errors import CounterpointError, nearest

PATHS = ("auto", "plain", "stream", "triton")
DEFAULT_BYTES = 64 * 2**20
DEFAULT_GPU_BYTES = 2**30
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
        path: "auto", "plain", "stream" or "triton".
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
        """Say whether to work in blocks, given what the plain path would hold at once.

        >>> KernelSettings("auto", 1024).streams(plain_bytes=4096)
        True
        """
        return self.path in ("stream", "triton") or (self.path == "auto" and plain_bytes > self.budget_bytes)


def from_environment(device_type: str = "cpu") -> KernelSettings:
    """Read COUNTERPOINT_KERNELS (auto, plain, stream, triton) and COUNTERPOINT_KERNEL_BYTES (a whole number)."""
    path, given = os.environ.get("COUNTERPOINT_KERNELS", "auto"), os.environ.get("COUNTERPOINT_KERNEL_BYTES")
    try:
        budget_bytes = default_bytes(device_type) if given is None else int(given)
    except ValueError:
        raise CounterpointError(
            f"COUNTERPOINT_KERNEL_BYTES is '{given}'; expected a whole number of bytes; for example 67108864"
        ) from None
    return KernelSettings(path, budget_bytes)


def default_bytes(device_type: str) -> int:
    """Budget where none is given: a GPU needs larger blocks to be busy."""
    return DEFAULT_GPU_BYTES if device_type == "cuda" else DEFAULT_BYTES


_override: ContextVar[tuple[str, int | None] | None] = ContextVar("counterpoint_kernels", default=None)


def settings(device_type: str = "cpu") -> KernelSettings:
    """Return the settings in force on a kind of device: the innermost ``kernel_path``, else the environment's.

    >>> settings("cuda").budget_bytes // settings().budget_bytes
    16
    """
    now = _override.get()
    outside = from_environment(device_type)
    if now is None:
        return outside
    path, budget_bytes = now
    return KernelSettings(path, outside.budget_bytes if budget_bytes is None else budget_bytes)


@contextmanager
def kernel_path(path: str | None = None, *, budget_bytes: int | None = None) -> Iterator[KernelSettings]:
    """Set the path, the byte budget or both within a ``with`` block.

    >>> with kernel_path("stream", budget_bytes=2**20) as now:
    ...     now.path, settings().budget_bytes
    ('stream', 1048576)
    """
    given, budget = _override.get() or (None, None)
    budget = budget if budget_bytes is None else budget_bytes
    path = path or given or from_environment().path
    KernelSettings(path, DEFAULT_BYTES if budget is None else budget)  # raises where one of them is wrong
    token = _override.set((path, budget))
    try:
        yield settings()
    finally:
        _override.reset(token)
