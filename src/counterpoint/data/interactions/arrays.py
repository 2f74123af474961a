"""Arrays with one number a row, in memory or in files that are mapped, and what is done to them a part at a time.

N rows, M of them.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.data import row_numbers
from counterpoint.data.row_numbers import parts


class Arrays:
    """Makes arrays: in memory, or in files of a folder, whose pages the system may take back.

    Args:
        folder: for the files, which ``clear`` removes; None: memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._numbers = count()

    def empty(self, size: int, kind: Any) -> np.ndarray:
        """[size] numbers that are not set yet."""
        if self.folder is None or not size:  # nothing cannot be mapped
            return np.empty(size, kind)
        name = self.folder / f"scratch-{next(self._numbers)}"
        # A plain array over the map: numpy shuffles others by another way, element by element.
        return np.asarray(np.memmap(name, kind, "w+", shape=(size,)))

    def clear(self) -> None:
        """Remove the files; arrays that are still read keep what they hold until they are gone."""
        for file in self.folder.glob("scratch-*") if self.folder is not None else ():
            file.unlink()

    def selected(self, values_N: np.ndarray, mask_N: np.ndarray) -> np.ndarray:
        """[M] the values that a mask marks."""
        result, filled = self.empty(int(np.count_nonzero(mask_N)), values_N.dtype), 0
        for start, part in parts(values_N):
            some = part[mask_N[start : start + len(part)]]
            result[filled : filled + len(some)] = some
            filled += len(some)
        return result

    def taken(self, table: np.ndarray, index_N: np.ndarray) -> np.ndarray:
        """[N] ``table[index]``, as int64 where the table is."""
        result = self.empty(len(index_N), table.dtype)
        for start, part in parts(index_N):
            result[start : start + len(part)] = table[part]
        return result

    def shuffled(self, values_N: np.ndarray | int, random: np.random.Generator) -> np.ndarray:
        """What ``random.permutation`` makes of values, or of 0 to N - 1."""
        size = values_N if isinstance(values_N, int) else len(values_N)
        result = self.empty(size, np.int64)
        for start in range(0, size, row_numbers.PART):
            stop = min(start + row_numbers.PART, size)
            result[start:stop] = np.arange(start, stop) if isinstance(values_N, int) else values_N[start:stop]
        random.shuffle(result)
        return result


def counts(values_N: np.ndarray, size: int) -> np.ndarray:
    """[size] how often each of the numbers 0 to size - 1 occurs."""
    result = np.zeros(size, np.int64)
    for _, part in parts(values_N):
        result += np.bincount(part, minlength=size)
    return result


def first_seen(values_N: np.ndarray, size: int) -> np.ndarray:
    """[size] for each number its rank in the order in which numbers first occur; those that do not occur come last.

    >>> first_seen(np.array([2, 0, 2]), 3).tolist()
    [1, 2, 0]
    """
    first = np.full(size, len(values_N), np.int64)
    for start, part in parts(values_N):
        numbers, at = np.unique(part, return_index=True)
        first[numbers] = np.minimum(first[numbers], at + start)
    rank = np.empty(size, np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(size)
    return rank
