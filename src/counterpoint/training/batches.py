"""Which rows a step sees, and the random numbers that belong to those rows. Pure functions of (seed, loop, position).

Shapes: n rows of this rank, N rows of the global batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from accelerate.utils import recursively_apply, send_to_device
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.transfer import sent
from counterpoint.training.seeds import derive, generator

Order = Callable[[int, torch.Generator], Tensor]


class ItemRandom:
    """Random numbers per row, drawn for the whole global batch and cut to this rank's rows: ranks cannot matter."""

    def __init__(self, seed: int, size: int, rows: slice, device: torch.device) -> None:
        self.generator, self.size, self.rows, self.device = generator(seed), size, rows, device

    def uniform(self, *shape: int) -> Tensor:
        """[n, *shape] draws from [0, 1)."""
        return torch.rand(self.size, *shape, generator=self.generator)[self.rows].to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """[n, *shape] standard normal draws."""
        return torch.randn(self.size, *shape, generator=self.generator)[self.rows].to(self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """[n, *shape] int64 draws from 0..high-1."""
        return torch.randint(high, (self.size, *shape), generator=self.generator)[self.rows].to(self.device)


@dataclass(frozen=True)
class Batch:
    """One step's rows.

    Attributes:
        items: what the source gave for this rank's rows, on the run's device.
        index: [n] positions in the source of this rank's rows.
        size: N, rows of the global batch.
        offset: where this rank's rows start in the global batch.
        random: per-row random numbers.
        step: step of this loop, from 0. epoch: pass over the source, from 0.
    """

    items: Any
    index: Tensor
    size: int
    offset: int
    random: ItemRandom
    step: int
    epoch: int


@dataclass(frozen=True)
class BatchPlan:
    """How a loop walks over its source: batch ``position`` is known without walking there."""

    length: int
    size: int
    seed: int
    loop: str
    shuffle: bool
    drop_last: bool
    order: Order | None = None

    def __post_init__(self) -> None:
        if self.length == 0:
            raise CounterpointError(f"loop '{self.loop}' got an empty source; give it at least one example")
        if self.size < 1:
            raise CounterpointError(
                f"loop '{self.loop}': batches of {self.size} rows; give a batch size of at least 1"
            )
        if self.steps_per_epoch == 0:
            raise CounterpointError(
                f"loop '{self.loop}': {self.length} examples make no full batch of {self.size}; use a smaller batch size"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return self.length // self.size if self.drop_last else -(-self.length // self.size)

    def epoch_order(self, epoch: int) -> Tensor:
        """[length] the order of the source's positions in one pass."""
        draws = generator(derive(self.seed, self.loop, "order", epoch))
        if self.order is not None:
            return self.order(epoch, draws)
        return torch.randperm(self.length, generator=draws) if self.shuffle else torch.arange(self.length)

    def drawn(self, finished: Callable[[int, Tensor], bool]) -> list[int]:
        """Source positions that a loop draws, sorted.

        Args:
            finished: told (batches before, [N] rows of the next one), whether the loop ends before that batch.
        """
        rows: set[int] = set()
        for position in itertools.count():
            if position % self.steps_per_epoch == 0:
                order = self.epoch_order(position // self.steps_per_epoch)
            batch = self.rows(position, order)
            if len(rows) == self.length or finished(position, batch):
                return sorted(rows)
            rows.update(batch.tolist())
        raise AssertionError("itertools.count ended")

    def rows(self, position: int, order: Tensor) -> Tensor:
        """[N] source positions of the global batch number ``position`` given its epoch's order."""
        start = (position % self.steps_per_epoch) * self.size
        return order[start : start + self.size]


def share(size: int, rank: int, world: int) -> slice:
    """This rank's contiguous, nearly equal part of a global batch.

    >>> [share(5, rank, 2) for rank in range(2)]
    [slice(0, 3, None), slice(3, 5, None)]
    """
    base, extra = divmod(size, world)
    start = rank * base + min(rank, extra)
    return slice(start, start + base + (rank < extra))


def fetch(source: Any, index: Tensor, collate: Callable[[list[Any]], Any] | None) -> Any:
    """Take rows from a source: by one tensor index where the source allows it, else one by one."""
    if collate is None and not isinstance(source, Sequence):
        return source[index]
    items = [source[int(i)] for i in index]
    return collate(items) if collate else items


def send(items: Any, device: torch.device) -> Any:
    """Move what a step needs: tensors, containers of them, things with ``.to``, and dataclasses field by field.

    >>> send({"x": torch.zeros(2)}, torch.device("meta"))["x"].device.type
    'meta'
    """
    if is_dataclass(items) and not isinstance(items, type) and not hasattr(items, "to"):
        moved = copy(items)
        for field in fields(items):
            object.__setattr__(
                moved, field.name, send(getattr(items, field.name), device)
            )  # frozen ones, too
        return moved
    if device.type == "cuda":
        items = recursively_apply(lambda each: sent(each, device), items)
    return send_to_device(items, device)
