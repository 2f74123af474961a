"""Batches in which every class that occurs has several rows, of different groups where it can be: positives to learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


class ClassBatches:
    """An order of rows for ``run.batches(..., order=...)``: classes take turns, and each brings ``per_class`` rows.

    A class's rows come one group after the other, so that rows of one batch are of different groups (speakers, towns)
    as long as the class has that many. Small classes come round more often than large ones.

    Args:
        labels: [N] of the rows.
        batch_size: rows per batch.
        per_class: rows of each class in a batch; more where there are too few classes to fill it.
        groups: [N]; without any, rows are taken as they come.
    """

    def __init__(
        self, labels: Tensor, batch_size: int, per_class: int = 4, groups: Sequence[str] | None = None
    ) -> None:
        if not 2 <= per_class <= batch_size:
            raise CounterpointError(
                f"per_class={per_class}, batch_size={batch_size}; expected at least 2 rows of a class, and no more than a batch holds"
            )
        self.batch_size, self.groups = batch_size, groups
        self.members: dict[int, list[int]] = defaultdict(list)
        for row, label in enumerate(labels.tolist()):
            self.members[label].append(row)
        self.total = len(labels)
        self.at_once = min(len(self.members), max(2, batch_size // per_class))

    def __call__(self, epoch: int, generator: torch.Generator) -> Tensor:
        """[N] positions: one pass in length, each class about equally often."""
        queues: dict[int, list[int]] = {label: [] for label in self.members}
        waiting: list[int] = []
        order: list[int] = []
        while len(order) < self.total:
            chosen: list[int] = []
            while len(chosen) < self.at_once:
                if not waiting:
                    waiting = self._shuffled(sorted(self.members), generator)
                chosen.append(waiting.pop())
            for slot in range(self.batch_size):
                label = chosen[slot % self.at_once]
                if not queues[label]:
                    queues[label] = self._turns(self._shuffled(self.members[label], generator))
                order.append(queues[label].pop())
        return torch.tensor(order[: self.total])

    def _turns(self, rows: list[int]) -> list[int]:
        """Rows so that each group gives one before any gives its next."""
        if self.groups is None:
            return rows
        given: dict[str, int] = defaultdict(int)
        turn = {}
        for row in rows:
            turn[row] = given[self.groups[row]]
            given[self.groups[row]] += 1
        return sorted(rows, key=lambda row: -turn[row])

    @staticmethod
    def _shuffled(rows: Sequence[int], generator: torch.Generator) -> list[int]:
        return [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
