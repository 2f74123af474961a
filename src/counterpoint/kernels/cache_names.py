"""How a transformers model takes and returns its key/value cache: ``cache`` since 5.24, ``past_key_values`` before.

The name is read off the model, not off the library's version: models with code of their own keep the old one.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

NAMES = ("cache", "past_key_values")


def cache_argument(module: nn.Module) -> str | None:
    """The name under which a model's forward takes a cache; None when it takes none.

    >>> class Plain(nn.Module):
    ...     def forward(self, input_ids, past_key_values=None): ...
    >>> cache_argument(Plain()), cache_argument(nn.Linear(2, 2))
    ('past_key_values', None)
    """
    known = inspect.signature(module.forward).parameters
    return next((name for name in NAMES if name in known), None)


def returned_cache(output: Any) -> Any:
    """The cache in a model's output, under either name; None when there is none."""
    return next((output[name] for name in NAMES if name in output), None)
