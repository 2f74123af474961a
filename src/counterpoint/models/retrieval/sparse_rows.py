"""Vectors over a vocabulary that are 0 almost everywhere, as rows of (entry, value): documents, and batches of queries.

C rows, V entries of the vocabulary, E entries that are not 0 over all rows, B dense vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class SparseRows:
    """Rows one after another.

    Attributes:
        starts: [C + 1], where each row's entries begin in the two others.
        entries: [E], positions in the vocabulary, ascending in a row. values: [E].
        width: V.
    """

    starts: Tensor
    entries: Tensor
    values: Tensor
    width: int

    @classmethod
    def of(cls, dense_CV: Tensor) -> SparseRows:
        """The entries of dense rows that are not 0, on the CPU.

        >>> SparseRows.of(torch.tensor([[0.0, 2.0], [0.0, 0.0], [1.0, 3.0]])).entries.tolist()
        [1, 0, 1]
        """
        dense = dense_CV.detach().cpu()
        row_E, entry_E = dense.nonzero(as_tuple=True)
        counts = torch.bincount(row_E, minlength=len(dense))
        return cls(_starts(counts), entry_E.int(), dense[row_E, entry_E], dense.shape[1])

    @classmethod
    def joined(cls, parts: Sequence[SparseRows], width: int = 0) -> SparseRows:
        """Rows of several parts, one after another; ``width`` where there is none."""
        if not parts:
            nothing = torch.zeros(0)
            return cls(torch.zeros(1, dtype=torch.long), nothing.int(), nothing, width)
        counts = torch.cat([part.counts for part in parts])
        entries, values = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("entries", "values")
        )
        return cls(_starts(counts), entries, values, parts[0].width)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SparseRows:
        """Rows that ``state`` gave."""
        return cls(**state)

    def state(self) -> dict[str, Any]:
        """As plain data with tensors, to be stored."""
        return dict(vars(self))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> Tensor:
        """[C], how many entries each row has."""
        return self.starts[1:] - self.starts[:-1]

    def rows(self, index_M: Tensor) -> SparseRows:
        """Some rows, in the order of their numbers, repeats among them.

        >>> SparseRows.of(torch.eye(3)).rows(torch.tensor([2, 2, 0])).entries.tolist()
        [2, 2, 0]
        """
        counts = self.counts[index_M]
        starts = _starts(counts)
        within = torch.arange(int(starts[-1])) - starts[:-1].repeat_interleave(counts)
        at = self.starts[index_M].repeat_interleave(counts) + within
        return SparseRows(starts, self.entries[at], self.values[at], self.width)

    def dense(self) -> Tensor:
        """[C, V]."""
        table = self.values.new_zeros(len(self), self.width)
        table[self.owners, self.entries.long()] = self.values
        return table

    @property
    def owners(self) -> Tensor:
        """[E], the row of each entry."""
        return torch.arange(len(self)).repeat_interleave(self.counts)

    def scores(self, queries_BV: Tensor) -> Tensor:
        """[B, C] inner products with dense queries, with gradient to them; nothing of the size [C, V] is made.

        Raises:
            CounterpointError: queries over another vocabulary.

        >>> SparseRows.of(torch.eye(2)).scores(torch.tensor([[3.0, 4.0]])).tolist()
        [[3.0, 4.0]]
        """
        self._same_width(queries_BV.shape[1])
        device = queries_BV.device
        products_BE = queries_BV[:, self.entries.long().to(device)] * self.values.to(device)
        return products_BE.new_zeros(len(queries_BV), len(self)).index_add(
            1, self.owners.to(device), products_BE
        )

    def own_scores(self, queries_BV: Tensor, each: int) -> Tensor:
        """[B, each] inner products of each query with its own rows, ``each`` of them one after another, with gradient to the queries.

        >>> SparseRows.of(torch.eye(4)).own_scores(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]), 2).tolist()
        [[1.0, 2.0], [7.0, 8.0]]
        """
        self._same_width(queries_BV.shape[1])
        device = queries_BV.device
        owners = self.owners.to(device)
        products_E = queries_BV[owners // each, self.entries.long().to(device)] * self.values.to(device)
        sums_C = products_E.new_zeros(len(self)).index_add(0, owners, products_E)
        return sums_C.reshape(len(queries_BV), each)

    def csr(self) -> Any:
        """The same as scipy's matrix of compressed rows, [C, V]; the numbers are shared."""
        from scipy.sparse import csr_matrix

        parts = (self.values.numpy(), self.entries.numpy(), self.starts.numpy())
        return csr_matrix(parts, shape=(len(self), self.width), copy=False)

    def _same_width(self, width: int) -> None:
        if width != self.width:
            raise CounterpointError(
                f"queries have {width} entries and documents {self.width}; both must be vectors over one vocabulary, of encoders with the "
                "same tokenizer"
            )


def best_first(scores_C: np.ndarray, count: int) -> np.ndarray:
    """Positions of the ``count`` largest scores, the largest first, the earlier one of equals.

    >>> best_first(np.array([1.0, 3.0, 3.0, 2.0]), 3).tolist()
    [1, 2, 3]
    """
    count = min(count, len(scores_C))
    if not count:
        return np.zeros(0, dtype=np.int64)
    bound = np.partition(scores_C, len(scores_C) - count)[len(scores_C) - count]
    likely = np.flatnonzero(scores_C >= bound)
    return likely[np.argsort(-scores_C[likely], kind="stable")][:count]


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), counts.long().cumsum(0)])
