"""State that belongs to single training samples: temperatures, moving averages. It lives with the Run, not in attributes."""

from __future__ import annotations

from torch import Tensor, nn


class PerSample(nn.Module):
    """Named [num_samples, ...] buffers, read and written by row.

    >>> import torch
    >>> memory = PerSample(4, temperature=torch.tensor(0.1))
    >>> memory.write(torch.tensor([2]), temperature=torch.tensor([0.5]))
    >>> [round(t, 1) for t in memory.read("temperature", torch.tensor([1, 2])).tolist()]
    [0.1, 0.5]
    """

    def __init__(self, num_samples: int, **initial: Tensor) -> None:
        super().__init__()
        for name, value in initial.items():
            self.register_buffer(name, value.expand(num_samples, *value.shape).clone())

    def read(self, name: str, index: Tensor) -> Tensor:
        """[n, ...] copies of the rows ``index`` of a field."""
        return self.get_buffer(name)[index]

    def write(self, index: Tensor, **values: Tensor) -> None:
        """Set the rows ``index`` [n] of the named fields. Across ranks, gather index and values first."""
        for name, value in values.items():
            self.get_buffer(name)[index] = value.detach().to(self.get_buffer(name).dtype)
