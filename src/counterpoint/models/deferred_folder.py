"""An ordinary ``save_pretrained`` folder of a model whose weights are deferred: written while one weight is held at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from counterpoint.models import deferred

WEIGHTS = "model.safetensors"
LARGEST = 50 * 10**9
"""Bytes of a file of weights, as transformers has it."""
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
REFUSED = (RuntimeError, ValueError, IndexError, KeyError, TypeError, AssertionError)
"""What a conversion of stored weights raises over numbers that stand for them."""


def write(causal: Any, folder: Path, kind: torch.dtype | None = None, largest: int = LARGEST) -> None:
    """Write what ``causal.save_pretrained(folder)`` writes.

    Args:
        causal: a transformers model. folder: where. kind: of its floating-point numbers in the folder; None leaves them.
        largest: bytes of a file; more weights make several and an index.
    """
    values = causal.state_dict(keep_vars=True)
    stored = _stored(causal, folder, values)
    if stored is None:  # weights are changed as they are written: that needs them all
        state = deferred.fill(causal).state_dict()
        given = {} if kind is None else {"state_dict": {n: _as(v, kind) for n, v in state.items()}}
        causal.save_pretrained(str(folder), **given)
        return
    there = deferred.sources(causal)
    files = _split(
        {name: values[own].numel() * _kind(values[own], kind).itemsize for name, own in stored.items()},
        largest,
    )

    def fetch(own: str) -> Tensor:
        value = there[own].whole() if own in there else values[own].detach()
        return _as(value, kind)

    (folder / WEIGHTS).unlink()
    names = [WEIGHTS] if len(files) == 1 else [
        f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)
    ]  # fmt: skip
    for file, content in zip(names, files, strict=True):
        owns = {name: stored[name] for name in content}
        _write_file(
            folder / file,
            {n: (values[own], _kind(values[own], kind), partial(fetch, own)) for n, own in owns.items()},
        )
    if len(files) > 1:
        total = sum(values[own].numel() * _kind(values[own], kind).itemsize for own in stored.values())
        where = {n: file for file, content in zip(names, files, strict=True) for n in content}
        index = {
            "metadata": {"total_parameters": causal.num_parameters(), "total_size": total},
            "weight_map": where,
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / f"{WEIGHTS}.index.json").write_text(text, encoding="utf-8")


def _split(sizes: dict[str, int], largest: int) -> list[list[str]]:
    """Names of the weights of each file, as transformers divides them: in order, one that is too large by itself.

    >>> _split({"a": 3, "b": 9, "c": 1, "d": 2}, largest=5)
    [['b'], ['a', 'c'], ['d']]
    """
    files: list[list[str]] = []
    current: list[str] = []
    for name, size in sizes.items():
        if size > largest:
            files.append([name])
            continue
        if sum(sizes[each] for each in current) + size > largest:
            files.append(current)
            current = []
        current.append(name)
    return [*files, current] if current else files


def _stored(causal: Any, folder: Path, values: dict[str, Any]) -> dict[str, str] | None:
    """Saved name -> own name, as transformers itself decides over numbers that stand for the weights; None where it changes weights.

    Writes the rest of the folder.
    """
    numbers = {id(value): number for number, value in enumerate(values.values())}
    owns = {number: name for name, number in reversed([(name, numbers[id(v)]) for name, v in values.items()])}
    marks = {number: torch.tensor([number]) for number in owns}
    try:
        causal.save_pretrained(
            str(folder), state_dict={name: marks[numbers[id(v)]] for name, v in values.items()}
        )
        saved = load_file(folder / WEIGHTS)
        if any(mark.shape != (1,) for mark in saved.values()):
            return None
        # By name, as transformers fills the files of a model that it has read.
        return {name: owns[int(saved[name])] for name in sorted(saved)}
    except REFUSED:
        return None


def _write_file(target: Path, tensors: dict[str, tuple[Tensor, torch.dtype, Any]]) -> None:
    """One safetensors file, tensor by tensor: a header with every place, then the numbers."""
    order = sorted(tensors, key=lambda name: (-tensors[name][1].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        value, kind, _ = tensors[name]
        begin, end = end, end + value.numel() * kind.itemsize
        header[name] = {"dtype": NAMES[kind], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(tensors[name][2]().contiguous().flatten().view(torch.uint8).numpy())


def _kind(value: Tensor, kind: torch.dtype | None) -> torch.dtype:
    return kind if kind is not None and value.is_floating_point() else value.dtype


def _as(value: Tensor, kind: torch.dtype | None) -> Tensor:
    return value.to(_kind(value, kind))


def merged(causal: Any) -> Any:
    """A copy of a deferred model under adapters, without them: each weight is merged when it is fetched, by PEFT's own layer."""
    plain = copy.deepcopy(causal).merge_and_unload()
    for layer, base in _adapted(causal, plain):
        changed = ["weight", *(["bias"] if any(getattr(layer, "lora_bias", {}).values()) else [])]
        for name in changed:
            if base._parameters.get(name) is not None:
                deferred.put_source(base, name, deferred.Fetched(partial(_merged, layer, name)))
    return plain


def _adapted(causal: Any, plain: nn.Module) -> Iterator[tuple[Any, nn.Module]]:
    for path, layer in causal.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "get_base_layer"):
            yield layer, plain.get_submodule(path.removeprefix("base_model.model."))


@torch.no_grad()
def _merged(layer: Any, name: str) -> Tensor:
    real = deferred.fill(copy.deepcopy(layer))
    real.merge()
    return real.get_base_layer().get_parameter(name).detach()
