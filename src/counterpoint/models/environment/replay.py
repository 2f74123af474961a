"""What was played, kept as state that a checkpoint saves. Rows are added in order; a full one begins again at its start."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Replay(nn.Module):
    """Named buffers of [capacity, ...] rows.

    >>> replay = Replay(3, reward=torch.zeros(()))
    >>> for value in range(4):
    ...     replay.add(reward=torch.tensor([float(value)]))
    >>> len(replay), replay.reward.tolist()
    (3, [3.0, 1.0, 2.0])
    """

    written: Tensor

    def __init__(self, capacity: int, **example: Tensor) -> None:
        super().__init__()
        self.capacity, self.names = capacity, tuple(example)
        for name, value in example.items():
            self.register_buffer(name, torch.zeros(capacity, *value.shape, dtype=value.dtype))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return min(int(self.written), self.capacity)

    def add(self, **rows: Tensor) -> None:
        """Add rows [n, ...] of every name."""
        count = len(next(iter(rows.values())))
        index = (int(self.written) + torch.arange(count)) % self.capacity
        for name in self.names:
            self.get_buffer(name)[index] = rows[name].to(self.get_buffer(name).dtype)
        self.written += count

    def column(self, name: str) -> Tensor:
        """The rows written so far of one name."""
        return self.get_buffer(name)[: len(self)]

    def __getitem__(self, index: Tensor) -> dict[str, Tensor]:
        """Rows by name."""
        return {name: self.get_buffer(name)[index] for name in self.names}
