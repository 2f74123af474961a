"""Weights that are somewhere else until they are needed: in a safetensors file, or in the shards of other processes.

A deferred parameter is on the meta device; the module that owns it remembers its ``Source``. So a model is built, adapted and
cut into shards while no process holds all of it (``empty``), and is written while the first process holds one weight at a time
(``deferred_folder.write``). Knows nothing of processes.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
SOURCES = "_counterpoint_sources"
_wanted = contextvars.ContextVar("deferred", default=False)


class Source(Protocol):
    """Where a weight is."""

    def whole(self) -> Tensor:
        """All of it, on the CPU."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Some of its rows."""


@dataclass(frozen=True)
class InFile:
    """A weight in a safetensors file; only the rows that are asked for are read.

    Attributes:
        file, key: where it is. dtype: of what is handed out.
    """

    file: Path
    key: str
    dtype: torch.dtype

    def whole(self) -> Tensor:
        """All of it."""
        return self._read(slice(None))

    def rows(self, start: int, stop: int) -> Tensor:
        """Some of its rows."""
        return self._read(slice(start, stop))

    def _read(self, rows: slice) -> Tensor:
        from safetensors import safe_open

        # Opened for each weight: the pages that were read are given back when it is closed.
        with safe_open(self.file, framework="pt") as content:
            part = content.get_slice(self.key)
            value: Tensor = part[rows] if part.get_shape() else content.get_tensor(self.key)
            return value.to(self.dtype, copy=True).contiguous()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True, eq=False)
class Fetched:
    """A weight that a function fetches, whole."""

    ask: Callable[[], Tensor]

    def whole(self) -> Tensor:
        """All of it."""
        return self.ask()

    def rows(self, start: int, stop: int) -> Tensor:
        """Some of its rows."""
        return self.ask()[start:stop]

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self


@contextlib.contextmanager
def wanted(yes: bool = True) -> Iterator[None]:
    """Inside, folders are opened without their weights where that can be done."""
    token = _wanted.set(yes)
    try:
        yield
    finally:
        _wanted.reset(token)


def is_wanted() -> bool:
    """Whether folders are to be opened without their weights.

    >>> with wanted():
    ...     is_wanted()
    True
    """
    return _wanted.get()


def sources(module: nn.Module) -> dict[str, Source]:
    """The sources of a module's deferred weights, by every name that they have."""
    return {
        f"{path}{'.' if path else ''}{name}": source
        for path, owner in module.named_modules()
        for name, source in vars(owner).get(SOURCES, {}).items()
        if owner._parameters.get(name) is not None and owner._parameters[name].device.type == "meta"  # type: ignore[union-attr]
    }


def is_far(module: nn.Module) -> bool:
    """Whether weights of a module are still somewhere else."""
    return bool(sources(module))


def put_source(owner: nn.Module, name: str, source: Source) -> None:
    """Say where one weight of a module is."""
    vars(owner).setdefault(SOURCES, {})[name] = source


def forget(module: nn.Module) -> None:
    """Take the sources away: the weights are there, or never will be."""
    for owner in module.modules():
        vars(owner).pop(SOURCES, None)


def replace(module: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Put a parameter in the place of another wherever that stands."""
    for owner in module.modules():
        for key, each in owner._parameters.items():
            if each is old:
                owner._parameters[key] = new


@torch.no_grad()
def fill(module: M, names: set[str] | None = None) -> M:
    """Fetch all deferred weights, or those of some names, into a module."""
    there = sources(module)
    for name, p in list(module.named_parameters()):
        if name in there and (names is None or name in names):
            replace(module, p, nn.Parameter(there[name].whole(), requires_grad=p.requires_grad))
    return module


@contextlib.contextmanager
def streamed(base: nn.Module, blocks: list[nn.Module]) -> Iterator[None]:
    """Inside, a deferred model runs: a block's weights are there while it does, those of no block all the time."""
    inside = {id(p) for block in blocks for p in block.parameters()}
    there = sources(base)
    root = {name for name, p in base.named_parameters() if name in there and id(p) not in inside}
    taken: dict[int, list[tuple[nn.Parameter, nn.Parameter]]] = {}

    def fetch(module: nn.Module, names: set[str] | None = None) -> None:
        before = dict(module.named_parameters())
        fill(module, names)
        now = dict(module.named_parameters())
        taken[id(module)] = [(now[name], p) for name, p in before.items() if now[name] is not p]

    def leave(module: nn.Module) -> None:
        for now, before in taken.pop(id(module), ()):
            replace(module, now, before)

    fetch(base, root)
    hooks: list[Any] = []
    for block in blocks:
        hooks.append(block.register_forward_pre_hook(lambda module, _: fetch(module)))
        hooks.append(block.register_forward_hook(lambda module, *_: leave(module), always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        leave(base)


@contextlib.contextmanager
def stand_ins(module: nn.Module) -> Iterator[None]:
    """Inside, deferred weights are numbers on the CPU that take no memory: for what looks at a weight's device and type alone."""
    there = sources(module)
    names = [(name, p) for name, p in module.named_parameters() if name in there]
    swapped = []
    for _, p in names:
        nothing = torch.full((1,), float("nan"), dtype=p.dtype).expand(p.shape)
        stand = nn.Parameter(nothing, requires_grad=p.requires_grad)
        replace(module, p, stand)
        swapped.append((stand, p))
    try:
        yield
    finally:
        for stand, p in swapped:
            p.requires_grad_(stand.requires_grad)
            replace(module, stand, p)


def empty(kind: Any, folder: Path, config: Any, dtype: torch.dtype, **given: Any) -> Any | None:
    """A transformers model whose weights stay in their folder; None where they are not stored one by one under their names.

    Args:
        kind: transformers' automatic class. folder: a local one, of safetensors. config: the folder's.
        dtype: of the weights. given: handed to ``from_config``.
    """
    from accelerate import init_empty_weights
    from transformers import GenerationConfig

    files = _files(folder)
    if not files or getattr(config, "quantization_config", None) is not None:
        return None
    with init_empty_weights(include_buffers=False):
        model = kind.from_config(config, dtype=dtype, **given)
    if getattr(model, "_keep_in_fp32_modules", None) or getattr(model, "_keep_in_fp32_modules_strict", None):
        return None
    model.tie_weights()
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    names: dict[int, list[str]] = {}
    for path, owner in model.named_modules():
        for key, p in owner._parameters.items():
            if p is not None:
                owners.setdefault(id(p), []).append((owner, key))
                names.setdefault(id(p), []).append(f"{path}.{key}" if path else key)
    shapes = _shapes(folder, files)
    for _, p in model.named_parameters():
        stored = next((name for name in names[id(p)] if shapes.get(name) == list(p.shape)), None)
        if stored is None:
            return None
        for owner, key in owners[id(p)]:
            put_source(owner, key, InFile(folder / files[stored], stored, dtype))
    for name, buffer in model.named_buffers():
        if name in files:
            buffer.data = InFile(folder / files[name], name, buffer.dtype).whole()
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.eval()


def _files(folder: Path) -> dict[str, str]:
    """Which file of a folder holds which weight; empty where they are in no safetensors."""
    from safetensors import safe_open

    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        return dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not single.is_file():
        return {}
    with safe_open(single, framework="pt") as content:
        return dict.fromkeys(content.keys(), single.name)


def _shapes(folder: Path, files: dict[str, str]) -> dict[str, list[int]]:
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    for file in sorted(set(files.values())):
        with safe_open(folder / file, framework="pt") as content:
            shapes |= {key: list(content.get_slice(key).get_shape()) for key in content.keys()}  # noqa: SIM118
    return shapes
