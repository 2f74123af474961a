"""Numbers of rows of large tables: as small as they can be held, and gone through a part at a time.

N rows, M of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

PART = 2**20
"""Rows that are gone through at a time."""


def smallest(count: int) -> np.dtype[Any]:
    """The smallest signed type that numbers so many rows.

    >>> smallest(10), smallest(2**31 + 1)
    (dtype('int32'), dtype('int64'))
    """
    return np.dtype(np.int32 if count <= 2**31 else np.int64)


def positions(mask_N: np.ndarray) -> np.ndarray:
    """[M] where a mask is true, as ``np.flatnonzero`` gives them, in half the memory.

    >>> positions(np.array([True, False, True])).tolist()
    [0, 2]
    """
    result = np.empty(int(np.count_nonzero(mask_N)), smallest(len(mask_N)))
    filled = 0
    for start, part in parts(mask_N):
        here = np.flatnonzero(part)
        result[filled : filled + len(here)] = here + start
        filled += len(here)
    return result


def gathered(values_N: np.ndarray, at_M: np.ndarray) -> np.ndarray:
    """[M] values at these rows, as ``values_N[at_M]`` gives them, without a copy of all numbers as int64.

    >>> gathered(np.array([7, 8, 9]), np.array([2, 0], np.int32)).tolist()
    [9, 7]
    """
    result = np.empty(len(at_M), values_N.dtype)
    for start, part in parts(at_M):
        result[start : start + len(part)] = values_N[part]
    return result


def own_sorted(values_N: np.ndarray) -> np.ndarray:
    """[N] sorted values: sorted in place where the array owns its memory, a sorted copy of a view of another's.

    >>> own_sorted(np.array([3, 1, 2])).tolist()
    [1, 2, 3]
    """
    result = np.require(values_N, requirements=["OWNDATA", "WRITEABLE"])
    result.sort()
    return result


def counts(codes_N: np.ndarray, length: int) -> np.ndarray:
    """[length] how often each code from 0 occurs, as ``np.bincount`` gives them, without a copy of all codes as int64.

    >>> counts(np.array([1, 1, 3], np.uint8), 5).tolist()
    [0, 2, 0, 1, 0]
    """
    return sum(
        (np.bincount(part, minlength=length) for _, part in parts(codes_N)), start=np.zeros(length, np.int64)
    )


def parts(values_N: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(Where it begins, the values there) of one part after the other."""
    for start in range(0, len(values_N), PART):
        yield start, values_N[start : start + PART]


def update(digest: Any, numbers_M: np.ndarray) -> None:
    """Feed row numbers to a hash as int64, whatever they are held as."""
    for _, part in parts(numbers_M):
        digest.update(np.ascontiguousarray(part, np.int64).tobytes())


def repeats(ordered_N: np.ndarray) -> int:
    """How many sorted values are equal to the one before.

    >>> repeats(np.array([1, 1, 1, 2]))
    2
    """
    return sum(
        int(
            np.count_nonzero(
                part[: len(ordered_N) - 1 - start] == ordered_N[start + 1 : start + 1 + len(part)]
            )
        )
        for start, part in parts(ordered_N)
    )


def contained(values_N: np.ndarray, ordered_M: np.ndarray) -> int:
    """How many values are among sorted ones.

    >>> contained(np.array([3, 1, 3]), np.array([2, 3, 5]))
    2
    """
    if not len(ordered_M):
        return 0
    count = 0
    for _, part in parts(values_N):
        sought = np.sort(part)  # neighbours are then looked for near one another
        at = np.minimum(np.searchsorted(ordered_M, sought), len(ordered_M) - 1)
        count += int(np.count_nonzero(ordered_M[at] == sought))
    return count
