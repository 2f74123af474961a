"""Rows of a table as their kernel with the rows that were learnt from; a linear head on it is a kernel machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.kernels.ridge import kernel_rows
from counterpoint.models.regression.tabular import ReadsRows


class KernelRows(ReadsRows):
    """``encoder(rows)[i] = k(row, support_i)`` over standardised columns, in double precision within.

    Args:
        columns: names of the columns, in order.
        mean, std: per column, of the rows that were learnt from.
        size: N, how many these are; the buffer ``support`` [N, columns] holds them, standardised.
        kernel, gamma: as of ``kernels.ridge.kernel_rows``.
        encoding: as of ``ReadsRows``.

    >>> KernelRows(["a", "b"], [0.0, 0.0], [1.0, 1.0], size=5)(torch.zeros(3, 2)).shape
    torch.Size([3, 5])
    """

    def __init__(
        self,
        columns: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        size: int,
        kernel: str = "rbf",
        gamma: float = 1.0,
        encoding: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(columns, encoding)
        self.num_features, self.kernel, self.gamma = size, kernel, gamma
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.double))
        self.register_buffer("std", torch.tensor(std, dtype=torch.double))
        self.register_buffer("support", torch.zeros(size, len(self.columns), dtype=torch.double))

    def standardised(self, rows: Tensor) -> Tensor:
        """[N, columns] -> the same, of mean 0 and deviation 1 in training."""
        return (self.arranged(rows).double() - self.get_buffer("mean")) / self.get_buffer("std")

    def forward(self, rows: Tensor) -> Tensor:
        """[M, columns] -> [M, N]."""
        values = kernel_rows(self.kernel, self.standardised(rows), self.get_buffer("support"), self.gamma)
        return values.to(torch.float32)
