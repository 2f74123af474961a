"""Activation checkpointing: each block of a model keeps its input only, and is computed again in the backward pass.

Also in evaluation mode, in which methods train whose policy must be without dropout; there a library's own switch does nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import CounterpointError


def recompute_blocks(causal: nn.Module) -> None:
    """Let every block of a transformers model be recomputed; values and gradients stay as they are.

    Raises:
        CounterpointError: transformers does not say which of the model's modules are blocks.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks = [each for each in causal.modules() if isinstance(each, GradientCheckpointingLayer)]
    if not blocks:
        raise CounterpointError(
            f"{type(causal).__name__} has no blocks that can be recomputed; leave recompute out and lower --micro-batch-size"
        )
    for block in blocks:
        # By its class, not by an attribute: a copy of the model, such as a teacher, then calls its own weights.
        block.__class__ = _recomputing(type(block))  # type: ignore[assignment,arg-type]


@cache
def _recomputing(cls: type[nn.Module]) -> type[nn.Module]:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            return cls.forward(self, *given, **named)

        cached = kwargs.get("past_key_values") is not None or kwargs.get("use_cache")
        if cached or not torch.is_grad_enabled():
            return run(*args, **kwargs)
        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    return type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
