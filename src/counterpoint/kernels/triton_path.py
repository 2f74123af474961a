"""Whether the fused kernels run: Triton on a GPU, or Triton's interpreter on small shapes where there is none.

The interpreter is chosen by TRITON_INTERPRET=1, which Triton reads when it is imported. Nothing here imports it.
"""

from __future__ import annotations

import functools
import importlib.util
import os

import torch

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.kernels.config import settings


@functools.cache
def installed() -> bool:
    """Whether Triton can be imported; PyTorch's builds for GPUs bring it along."""
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton runs its kernels step by step in Python."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def fused(device: torch.device) -> bool:
    """Say whether work in blocks on this device goes to the fused kernels; raise where they were asked for in vain.

    >>> fused(torch.device("cpu"))
    False
    """
    path = settings(device.type).path
    if path == "auto":
        return device.type == "cuda" and installed()
    if path != "triton":
        return False
    if not installed():
        raise MissingExtra("triton", "gpu")
    if device.type != "cuda" and not interpreted():
        raise CounterpointError(
            f"the kernel path 'triton' was given for tensors on '{device}'; expected tensors on a GPU; the calls that work: "
            'kernel_path("auto"), or TRITON_INTERPRET=1 in the environment, set before Python starts, for Triton\'s '
            "interpreter (slow: small shapes only)"
        )
    return True
