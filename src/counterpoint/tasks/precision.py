"""What a run computes in where nobody says it."""

from __future__ import annotations

from typing import Literal

Precision = Literal["no", "bf16", "fp16"]
LANGUAGE = ("problems", "preferences")
"""Kinds of data whose models are causal language models: their losses sum in 32 bits over whatever the model computes in."""


def of_device(kind: str) -> Precision:
    """bf16 for language models on a GPU that computes in it; fp32 elsewhere: on CPUs, and for models that were not seen in 16 bits.

    >>> of_device("images")
    'no'
    """
    if kind not in LANGUAGE:
        return "no"
    import torch

    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
