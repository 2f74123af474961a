"""What is kept of earlier classes to be shown again: an equal quota per class seen, chosen without chance on resume.

The memory holds positions in the training data, not copies of it. As classes come, the quota of each shrinks and the rows
chosen last are dropped first, so what stays is what a smaller quota would have chosen (arXiv 1611.07725 for "herding").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, nearest

Selection = Literal["random", "herding", "nearest"]
SELECTIONS = ("random", "herding", "nearest")


def class_order(num_classes: int, num_tasks: int, seed: int) -> list[list[int]]:
    """Cut classes into tasks, in an order drawn from the seed; sizes differ by one at most, larger ones first.

    Raises:
        CounterpointError: more tasks than classes, or none.

    >>> sorted(len(part) for part in class_order(5, 2, seed=0)), sum(class_order(5, 2, seed=0), []) != [0, 1, 2, 3, 4]
    ([2, 3], True)
    """
    if not 1 <= num_tasks <= num_classes:
        raise CounterpointError(
            f"tasks={num_tasks} and {num_classes} classes; expected from 1 task (all classes at once) to {num_classes}, so that "
            "each task brings at least one class"
        )
    order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(seed))
    return [part.tolist() for part in torch.tensor_split(order, num_tasks)]


def choose(count: int, how: Selection, *, size: int, features: Tensor | None = None, seed: int = 0) -> Tensor:
    """Rank one class's rows by how much they are worth keeping and return the first ``count``.

    Args:
        count: rows wanted; fewer come back when the class has fewer.
        how: "random"; "herding", each next row bringing the mean of the chosen nearest to the class mean; or "nearest",
            the rows nearest to the class mean.
        size: rows of the class.
        features: [size, D], needed by the last two; scaled to length 1 first.
        seed: of "random".

    Returns:
        [min(count, size)] row numbers, distinct, best first: a shorter choice is the beginning of a longer one.

    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> choose(2, "herding", size=3, features=rows).tolist(), choose(2, "nearest", size=3, features=rows).tolist()
    ([2, 0], [2, 0])
    """
    if how not in SELECTIONS:
        raise CounterpointError(f"selection='{how}'; {nearest(str(how), SELECTIONS)}")
    count = min(count, size)
    if how == "random":
        return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]
    if features is None or len(features) != size:
        raise CounterpointError(
            f"selection='{how}' needs the features of all {size} rows; give features=[{size}, D], or selection='random'"
        )
    rows = torch.nn.functional.normalize(features.double(), dim=1)
    middle = rows.mean(0)
    if how == "nearest":
        return (rows - middle).square().sum(1).argsort(stable=True)[:count]
    chosen: list[int] = []
    total, free = torch.zeros_like(middle), torch.ones(size, dtype=torch.bool)
    for number in range(1, count + 1):
        distance = ((total + rows) / number - middle).square().sum(1)
        best = int(torch.where(free, distance, torch.inf).argmin())
        chosen.append(best)
        free[best] = False
        total = total + rows[best]
    return torch.tensor(chosen, dtype=torch.long)


def capacity(memory: float, num_rows: int, num_classes: int) -> int:
    """Rows that ``memory`` stands for: a share of all rows (then at least one per class), or a number from 1 on.

    Raises:
        CounterpointError: neither a share nor a whole number, or not even one row per class.

    >>> capacity(0.01, 1200, 8), capacity(0.01, 100, 8), capacity(40, 1200, 8), capacity(0, 1200, 8)
    (12, 8, 40, 0)
    """
    if not 0 <= memory < float("inf") or (memory >= 1 and memory != int(memory)):
        raise CounterpointError(
            f"memory={memory}; expected a share of the training clips below 1, a whole number of clips, or 0"
        )
    if memory >= 1:
        ReplayMemory(int(memory), num_classes).quota(num_classes)
        return int(memory)
    return max(round(memory * num_rows), num_classes) if memory else 0


class ReplayMemory(nn.Module):
    """Positions of kept rows by class, a buffer that a run saves: ``memory = run.state(memory=ReplayMemory(50, 10))``.

    Args:
        capacity: rows over all classes. num_classes: of the data.

    >>> memory = ReplayMemory(4, 3)
    >>> memory.update({2: torch.tensor([7, 5, 6, 4])})
    >>> memory.update({0: torch.tensor([1, 3])})
    >>> memory.rows().tolist(), memory.quota(2)
    ([1, 3, 7, 5], 2)
    """

    stored: Tensor

    def __init__(self, capacity: int, num_classes: int) -> None:
        super().__init__()
        if capacity < 0:
            raise CounterpointError(f"a memory of {capacity} rows; expected 0 (keep nothing) or more")
        self.capacity = capacity
        self.register_buffer("stored", torch.full((num_classes, max(capacity, 1)), -1))

    def quota(self, num_seen: int) -> int:
        """Rows per class once ``num_seen`` classes were seen.

        Raises:
            CounterpointError: not even one row per class.
        """
        if self.capacity and self.capacity < num_seen:
            raise CounterpointError(
                f"a memory of {self.capacity} rows and {num_seen} classes; expected at least one row per class, so give "
                f"memory={num_seen} or more (or memory=0 to keep nothing)"
            )
        return self.capacity // max(num_seen, 1)

    def update(self, ranked: dict[int, Tensor]) -> None:
        """Take in new classes, their rows best first, and shorten the old ones to the new quota."""
        seen = set(ranked) | {int(label) for label in (self.stored[:, 0] >= 0).nonzero().squeeze(1)}
        quota = self.quota(len(seen))
        self.stored[:, quota:] = -1
        for label, rows in ranked.items():
            self.stored[label] = -1
            self.stored[label, : min(quota, len(rows))] = rows[:quota].to(self.stored)

    def choose(
        self,
        wanted: Sequence[int],
        labels: Tensor,
        how: Selection,
        seed: int = 0,
        *,
        features: Callable[[Tensor], Tensor],
    ) -> None:
        """Take in new classes, of each the rows most worth keeping.

        Args:
            wanted: the classes. labels: [N], of all training rows.
            how: see the function ``choose``. seed: of "random".
            features: positions [n] -> [n, D]; not asked for "random".

        >>> memory = ReplayMemory(1, 4)
        >>> rows = torch.tensor([[1.0, 0.0], [9.0, 9.0], [1.0, 1.0], [0.0, 1.0]])
        >>> memory.choose([3], torch.tensor([3, 1, 3, 3]), "nearest", features=lambda index: rows[index])
        >>> memory.rows().tolist()
        [2]
        """
        ranked = {}
        for label in wanted:
            rows = (labels == label).nonzero().squeeze(1)
            vectors = None if how == "random" else features(rows)
            ranked[label] = rows[choose(len(rows), how, size=len(rows), features=vectors, seed=seed + label)]
        self.update(ranked)

    def rows(self) -> Tensor:
        """[M] kept positions, class by class, best first."""
        return self.stored[self.stored >= 0]

    def __len__(self) -> int:
        return int((self.stored >= 0).sum())
