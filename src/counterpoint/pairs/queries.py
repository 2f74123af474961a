"""Which trajectories are put before a person: random triples and pairs, without repetition inside one."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def random_groups(size: int, count: int, group: int, generator: torch.Generator) -> Tensor:
    """[count, group] rows below ``size``, distinct within a group.

    >>> groups = random_groups(10, 4, 3, torch.Generator().manual_seed(0))
    >>> groups.shape, all(len(set(row)) == 3 for row in groups.tolist())
    (torch.Size([4, 3]), True)
    """
    if size < group:
        raise CounterpointError(f"a query compares {group} trajectories, and there are {size}; give more")
    # Draw from what is left, then shift past the rows already taken.
    taken = torch.empty(count, 0, dtype=torch.long)
    for number in range(group):
        draw = torch.randint(size - number, (count,), generator=generator)
        for earlier in taken.sort(1).values.T:
            draw = draw + (draw >= earlier)
        taken = torch.cat([taken, draw[:, None]], 1)
    return taken


class Grouped:
    """A source of batches: groups of rows of ``inputs``, with a label per group if there is one.

    Args:
        inputs: [N, M].
        groups: [Q, G] rows.
        labels: [Q] or None.
    """

    def __init__(self, inputs: Tensor, groups: Tensor, labels: Tensor | None = None) -> None:
        self.inputs, self.groups, self.labels = inputs, groups, labels

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [B, G, M] and labels [B] (zeros without labels)."""
        labels = torch.zeros(len(index), dtype=torch.long) if self.labels is None else self.labels[index]
        return self.inputs[self.groups[index]], labels
