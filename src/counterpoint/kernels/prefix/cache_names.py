"""How a transformers model takes and returns its key/value cache: ``cache`` since 5.24, ``past_key_values`` before.

The name is read off the model, not off the library's version: models with code of their own keep the old one.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

NAMES = ("cache", "past_key_values")


def cache_argument(module: nn.Module) -> str | None:
    """The name under which a model's forward takes a cache; None when it takes none.

    >>> class Plain(nn.Module):
    ...     def forward(self, input_ids, past_key_values=None): ...
    >>> cache_argument(Plain()), cache_argument(nn.Linear(2, 2))
    ('past_key_values', None)
    """
    parameters = inspect.signature(module.forward).parameters
    return next((name for name in NAMES if name in parameters), None)


def returned_cache(output: Any) -> Any:
    """The cache in a model's output, under either name; None when there is none."""
    return next((output[name] for name in NAMES if name in output), None)


def select_rows(cache: Any, rows: Tensor) -> bool:
    """Keep these rows of a cache, in place; False where it has no way to (recurrent layers only reorder theirs).

    Args:
        cache: what a model gave back.
        rows: [K] numbers of rows, each as often as it is wanted.
    """
    layers = getattr(cache, "layers", ())
    if hasattr(cache, "batch_select_indices") and all(
        hasattr(each, "batch_select_indices") for each in layers
    ):
        cache.batch_select_indices(rows)
        return True
    if layers and all(hasattr(each, "reorder_cache") for each in layers):
        cache.reorder_cache(rows)
        return True
    return False
