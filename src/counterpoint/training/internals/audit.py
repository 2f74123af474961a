"""The state audit: finds tensors that change from step to step and are not registered with the Run.

It looks through the local variables of the method's ``fit`` and all that hangs on them. A variable that is assigned anew
each step is a temporary; a tensor changed in place, and anything that changes inside an object, a list or a dict that
stays, is state, and state that is not registered is lost on resume.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.training.state import Stateful, tensors_of

DEPTH = 5
TRAINING = "counterpoint.training"


class Audit:
    """Compares what hangs on ``fit`` after each step with what hung there after the step before."""

    def __init__(self) -> None:
        self.before: dict[str, tuple[int, str]] | None = None
        # What was seen stays alive until the next look: an address used again would pass for the object that had it before.
        self.alive: list[Any] = []

    def look(self, states: dict[str, Stateful]) -> None:
        """Look at the caller's fit now.

        Raises:
            CounterpointError: something changed that is not registered; it is named by its path.
        """
        frame = _fit_frame()
        if frame is None:
            return
        registered = {t.untyped_storage().data_ptr() for thing in states.values() for t in tensors_of(thing)}
        registered_objects = {id(thing) for thing in states.values()}
        now = {path: seen for path, seen in _walk(frame.f_locals, registered, registered_objects)}
        if self.before is not None:
            for path, (identity, content) in now.items():
                if path not in self.before:
                    continue
                old_identity, old_content = self.before[path]
                temporary = "." not in path and "[" not in path and identity != old_identity
                if content != old_content and not temporary:
                    raise CounterpointError(
                        f"'{path}' changes from step to step and is not registered: a resumed run would lose it; "
                        "keep it in an object given to run.state(...)"
                    )
        self.before = now
        self.alive = list(frame.f_locals.values())


def _fit_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(TRAINING):
        frame = frame.f_back
    return frame


def _walk(
    variables: dict[str, Any], registered: set[int], registered_objects: set[int]
) -> Iterator[tuple[str, tuple[int, str]]]:
    stack = [(name, value, 0) for name, value in variables.items()]
    seen: set[int] = set()
    while stack:
        path, value, depth = stack.pop()
        if id(value) in registered_objects or depth > DEPTH:
            continue
        if isinstance(value, torch.Tensor | np.ndarray):
            if isinstance(value, torch.Tensor) and value.layout == torch.sparse_csr:
                value = value.values()  # the storage of a sparse tensor cannot be asked for
            if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() in registered:
                continue
            yield path, (id(value), _content(value))
            continue
        if isinstance(value, int | float | str | bool) or value is None:
            if "." in path:
                yield path, (id(value), repr(value))
            continue
        if (
            id(value) in seen
            or isinstance(value, type | ModuleType)
            or (callable(value) and not isinstance(value, nn.Module))
        ):
            continue
        seen.add(id(value))
        temporary_root = "." not in path and "[" not in path
        # The root's identity is part of its children's path: children of a fresh object never meet those of the last one.
        base = f"{path}@{id(value)}" if temporary_root else path
        if isinstance(value, dict):
            stack.extend((f"{base}[{k!r}]", v, depth + 1) for k, v in value.items())
        elif isinstance(value, list | tuple):
            yield f"{base}[len]", (0, str(len(value)))
            stack.extend((f"{base}[{i}]", v, depth + 1) for i, v in enumerate(value[:64]))
        elif not type(value).__module__.startswith((TRAINING, "torch.optim", "accelerate", "rich")):
            inner = {**getattr(value, "__dict__", {})}
            if isinstance(value, nn.Module):
                inner |= {
                    **inner.pop("_parameters", {}),
                    **inner.pop("_buffers", {}),
                    **inner.pop("_modules", {}),
                }
            stack.extend((f"{base}.{k}", v, depth + 1) for k, v in inner.items())


def _content(value: torch.Tensor | np.ndarray) -> str:
    if 0 in value.shape:  # an empty tensor's strides do not allow another view
        return "empty"
    array = (
        value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        if isinstance(value, torch.Tensor)
        else value
    )
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()
