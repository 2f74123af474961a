"""Numbers of a table that are not what they seem: too long for float64, or a word for none."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data.tables import cells

EXACT = 2.0**53
"""From here on float64 holds whole numbers by twos, fours, and so on."""
NEARLY = 0.9
"""One number may be written in two ways, such as 1e20 and 100000000000000000000; so many are different ones."""
SENTINEL = re.compile(r"-?9{2,}(\.0)?")
"""Numbers that people write where there is none."""


def distinct_numbers(column: pa.ChunkedArray, values: np.ndarray, gap: np.ndarray) -> tuple[int, int] | None:
    """How many different numbers a column has, and how many are left of them as float64; None where nearly all are."""
    if np.abs(values[~gap]).max(initial=0.0) < EXACT:
        return None
    column = column.filter(pa.array(~gap))
    given = pc.count_distinct(pc.utf8_trim_whitespace(column) if cells.is_text(column) else column).as_py()
    left = len(np.unique(values[~gap]))
    return None if left >= NEARLY * given else (given, left)


def sentinel(values: np.ndarray, name: str, mend: str) -> list[str]:
    """A note on -999 and the like, where it stands more than once and far from all other numbers, and how to ``mend`` a gap.

    >>> len(sentinel(np.array([-999.0, 3.0, -999.0, 7.0]), "depth", "empty them")), sentinel(np.array([99.0, 3.0, 99.0, 95.0]), "per cent", "")
    (1, [])
    """
    for end in (values.min(), values.max()):
        others = values[values != end]
        repeated = len(values) - len(others)
        if not len(others) or repeated < 2 or not SENTINEL.fullmatch(str(float(end))):
            continue
        gap = max(others.min() - end, end - others.max())
        if gap > others.max() - others.min():
            return [
                f"column '{name}': {end:g} stands {repeated} times, far from all other numbers; where it means a gap, {mend}"
            ]
    return []
