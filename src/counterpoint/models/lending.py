"""A model in shards, lent to the first process as a plain one whose weights are fetched one by one when they are read.

What the first process does with it (write a folder) is no business of the others: they hand out weights, in whatever order
they are asked for, until it is done or has failed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models import deferred, sharding

M = TypeVar("M", bound=nn.Module)
DONE, FAILED = -1, -2


@contextmanager
def lent(model: M) -> Iterator[M | None]:
    """The model on the first process; None on the others, which have then served it. Collective where it is in shards.

    Raises:
        CounterpointError: on the others, when the first process failed.
    """
    parts = sharding.sharded_in(model)
    first = not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
    if not parts:
        yield model if first else None
        return
    sharding.settle(model)
    weights: list[Any] = [p for part in parts for p in part.parameters()]
    device = torch.device(weights[0].device_mesh.device_type)
    if not first:
        if _serve(weights, device) == FAILED:
            raise CounterpointError("the first process could not write the model; its message says why")
        yield None
        return
    numbers = iter(range(len(weights)))
    inner = {id(part): _outline(part, weights, numbers, device) for part in parts}
    end = FAILED
    try:
        yield copy.deepcopy(model, dict[int, Any](inner))
        end = DONE
    finally:
        _say(end, device)


def _outline(part: nn.Module, weights: list[Any], numbers: Iterator[int], device: torch.device) -> nn.Module:
    """The plain module without weights, each of which knows its number."""
    record = sharding.shards_of(part)
    assert record is not None
    plain = sharding.without_weights(record.skeleton)
    for name, _ in part.named_parameters():
        source = deferred.Fetched(partial(_fetch, weights, next(numbers), device))
        wanted = plain.get_parameter(name)
        for owner in plain.modules():
            for key, each in owner._parameters.items():
                if each is wanted:
                    deferred.put_source(owner, key, source)
    for owner in plain.modules():
        for key, buffer in owner._buffers.items():
            owner._buffers[key] = None if buffer is None else buffer.detach().to("cpu", copy=True)
    return plain


@torch.no_grad()
def _fetch(weights: list[Any], number: int, device: torch.device) -> Tensor:
    _say(number, device)
    whole: Tensor = weights[number].full_tensor()
    return whole.to("cpu", copy=True)


@torch.no_grad()
def _serve(weights: list[Any], device: torch.device) -> int:
    while True:
        number = torch.zeros(1, dtype=torch.int64, device=device)
        dist.broadcast(number, src=0)
        if number < 0:
            return int(number)
        weights[int(number)].full_tensor()


def _say(number: int, device: torch.device) -> None:
    dist.broadcast(torch.tensor([number], device=device), src=0)
