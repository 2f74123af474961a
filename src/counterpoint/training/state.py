"""What of a registered object is saved, and how it is put back. Frozen weights under an adapter are not saved again."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.models import sharding


@runtime_checkable
class Stateful(Protocol):
    """Anything that can give and take its state: modules, optimisers, teachers, memories."""

    def state_dict(self) -> dict[str, Any]:
        """The state as nested plain data and tensors."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Put a state back."""


def capture(thing: Stateful) -> dict[str, Any]:
    """The state to save: of a module with trainable parameters, those and its buffers; of anything else, all of it."""
    sharding.settle(thing)
    state = thing.state_dict()
    if isinstance(thing, nn.Module):
        spared = _left_out(thing)
        return {name: value for name, value in state.items() if name not in spared}
    return state


def restore(name: str, thing: Stateful, state: dict[str, Any]) -> None:
    """Put a captured state back, strictly: a name that is missing or unknown is an error.

    Raises:
        CounterpointError: the object's names differ from the saved ones (the model or the method changed).
    """
    if not isinstance(thing, nn.Module):
        thing.load_state_dict(_like_parameters(thing, state))
        return
    sharding.settle(thing)
    own = thing.state_dict()
    expected = set(own) - _left_out(thing)
    if expected != set(state):
        odd = sorted(expected ^ set(state))
        raise CounterpointError(
            f"the checkpoint's '{name}' does not fit this run's: {len(odd)} names differ, first '{odd[0]}'; "
            "resume with the model and settings that the run was started with, or choose another --out"
        )
    thing.load_state_dict({n: sharding.like(value, own[n]) for n, value in state.items()}, strict=False)


def _like_parameters(thing: Any, state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with whole moments cut into shards where its parameters are: saved by one process, read by several."""
    groups = getattr(thing, "param_groups", None)
    if not groups or not any(sharding.is_shard(p) for group in groups for p in group["params"]):
        return state
    parameters = dict(enumerate(p for group in groups for p in group["params"]))

    def cut(number: int, value: Any) -> Any:
        p = parameters[number]
        fits = isinstance(value, torch.Tensor) and value.shape == p.shape
        return sharding.like(value, p) if fits else value

    moments = {n: {k: cut(n, v) for k, v in each.items()} for n, each in state["state"].items()}
    return {**state, "state": moments}


def _left_out(module: nn.Module) -> set[str]:
    """Names that need no saving: weights tied to a name already saved, and frozen ones next to trainable ones."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    tied = parameters.keys() - dict(module.named_parameters()).keys()
    if not any(p.requires_grad for p in parameters.values()):
        return tied
    return tied | {name for name, p in parameters.items() if not p.requires_grad}


def tensors_of(thing: Any) -> list[torch.Tensor]:
    """All tensors that a registered object owns, for the audit."""
    if isinstance(thing, nn.Module):
        return [*thing.parameters(), *thing.buffers()]
    tensors: list[torch.Tensor] = []
    stack: list[Any] = [thing.state_dict()]
    while stack:
        value = stack.pop()
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
    return tensors
