"""Nested state <-> safetensors + JSON. No pickle: what is neither a tensor nor plain data is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from counterpoint.errors import CounterpointError
from counterpoint.training.tensor_file import write_tensors

TENSORS = "tensors.safetensors"
STRUCTURE = "structure.json"


def write(tree: Any, folder: Path) -> dict[str, str]:
    """Write a tree of dicts, lists, scalars, tensors and arrays into ``folder`` as two files.

    Returns:
        The sha256 of the large one, which was computed while it was written, by its name.
    """
    structure, tensors = encode(tree)
    digest = write_tensors(tensors, folder / TENSORS)
    (folder / STRUCTURE).write_text(json.dumps(structure), encoding="utf-8")
    return {TENSORS: digest}


def encode(tree: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """A tree as plain data and its tensors by name.

    Raises:
        CounterpointError: something that is neither a tensor nor plain data.
    """
    tensors: dict[str, torch.Tensor] = {}
    return _encode(tree, tensors, ""), tensors


def read(folder: Path) -> Any:
    """Read what ``write`` wrote; tensors arrive on the CPU."""
    try:
        tensors = load_file(str(folder / TENSORS))
        return decode(json.loads((folder / STRUCTURE).read_text(encoding="utf-8")), tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise CounterpointError(f"{folder} cannot be read as saved state ({reason}); remove it") from None


def _encode(value: Any, tensors: dict[str, torch.Tensor], path: str) -> Any:
    if isinstance(value, torch.Tensor):
        key = _free(path, tensors)
        tensors[key] = value.detach()
        return {"$": "tensor", "key": key}
    if isinstance(value, np.ndarray):
        key = _free(path, tensors)
        tensors[key] = torch.from_numpy(np.array(value, order="C", copy=True))
        return {"$": "array", "key": key}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        pairs = [
            [_scalar(k, path), _encode(v, tensors, f"{path}/{k}" if path else str(k))]
            for k, v in value.items()
        ]
        return {"$": "map", "pairs": pairs}
    if isinstance(value, list | tuple):
        items = [_encode(v, tensors, f"{path}/{i}" if path else str(i)) for i, v in enumerate(value)]
        return {"$": "tuple", "items": items} if isinstance(value, tuple) else items
    raise CounterpointError(
        f"cannot save '{path}' of type {type(value).__name__}; give tensors, arrays, numbers, strings, lists or dicts"
    )


def _free(path: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """A tensor's own name: the keys ``a/b`` and ``b`` in ``a``, or ``1`` and ``"1"``, have one path."""
    key, number = path or "value", 1
    while key in tensors:
        number += 1
        key = f"{path or 'value'}#{number}"
    return key


def _scalar(key: Any, path: str) -> Any:
    if isinstance(key, str | int | float | bool) or key is None:
        return key
    raise CounterpointError(f"cannot save the key {key!r} in '{path}'; keys are strings or numbers")


def decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The tree that ``encode`` took apart."""
    if isinstance(value, list):
        return [decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    kind = value["$"]
    if kind == "tensor":
        return tensors[value["key"]]
    if kind == "array":
        return tensors[value["key"]].numpy()
    if kind == "map":
        return {k: decode(v, tensors) for k, v in value["pairs"]}
    return tuple(decode(v, tensors) for v in value["items"])
