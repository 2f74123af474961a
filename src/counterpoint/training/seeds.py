"""Randomness as a function of position. Every step, stage and round draws from a stream derived from (seed, where).

Nothing about a random stream is therefore saved: a resumed run derives the same stream at the same place. Knows
nothing of batches or checkpoints.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *where: str | int) -> int:
    """Return a 63-bit seed that depends on every part of the place, stable across processes and Python versions.

    >>> derive(0, "train", 1) == derive(0, "train", 1) != derive(0, "train", 2)
    True
    """
    text = "\x1f".join(str(part) for part in (seed, *where))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), numpy's global stream and Python's, so that third-party code is covered as well."""
    # torch.manual_seed records a stack trace for devices not yet initialised: a millisecond we would pay every step.
    torch.default_generator.manual_seed(seed)
    if torch.accelerator.is_available():
        torch.get_device_module(torch.accelerator.current_accelerator()).manual_seed_all(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def generator(seed: int) -> torch.Generator:
    """A CPU generator at the start of the stream ``seed``; the same numbers on every device and rank."""
    return torch.Generator().manual_seed(seed)
