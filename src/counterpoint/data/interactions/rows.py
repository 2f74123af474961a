"""Rows of interactions on their way to a split: positives by rating, each pair once, a dense core, the split itself.

Each step appends to ``notes`` what it understood or left out. Arrays may be mapped (``interactions.arrays``): every step goes
through them a part at a time. N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from counterpoint.data.interactions.arrays import Arrays, counts
from counterpoint.data.interactions.files import Table
from counterpoint.data.row_numbers import parts
from counterpoint.errors import CounterpointError

ORDER = {"all": 0, "train": 0, "validation": 1, "test": 2}
BUCKET = 2**22
"""Rows that are sorted at a time."""


@dataclass(frozen=True)
class CodedPairs:
    """Coded rows [N]: user and item codes into the id lists, time (or None), and the part each row was read from."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    part: np.ndarray
    user_ids: list[str]
    item_ids: list[str]

    def keep(self, mask_N: np.ndarray, arrays: Arrays) -> CodedPairs:
        """Return the rows of a mask."""
        return CodedPairs(
            arrays.selected(self.users, mask_N),
            arrays.selected(self.items, mask_N),
            None if self.times is None else arrays.selected(self.times, mask_N),
            arrays.selected(self.part, mask_N),
            self.user_ids,
            self.item_ids,
        )


def coded(tables: dict[str, Table]) -> tuple[CodedPairs, np.ndarray | None]:
    """Tables as one coded one, ids numbered as they first occur; and the ratings [N] where every table has them."""
    users = _coded([table.users for table in tables.values()])
    items = _coded([table.items for table in tables.values()])
    part = np.concatenate([np.full(len(table), ORDER[name], np.int8) for name, table in tables.items()])
    times = [table.times for table in tables.values()]
    ratings = [table.ratings for table in tables.values()]
    rows = CodedPairs(
        users.indices.to_numpy(),
        items.indices.to_numpy(),
        np.concatenate([t for t in times if t is not None]) if all(t is not None for t in times) else None,
        part,
        users.dictionary.to_pylist(),
        items.dictionary.to_pylist(),
    )
    if any(r is None for r in ratings):
        return rows, None
    return rows, np.concatenate([r for r in ratings if r is not None])


def positives(
    rows: CodedPairs, rating_N: np.ndarray | None, threshold: float | None, notes: list[str], arrays: Arrays
) -> CodedPairs:
    """The positive rows: those rated at least ``threshold``, where it is given."""
    if rating_N is None:
        if threshold is not None:
            raise CounterpointError(
                f"threshold={threshold} was given, but there is no rating column to hold against it; "
                "name it with --data-option rating=COLUMN, or leave the threshold out"
            )
        return rows
    low, high = rating_N.min(), rating_N.max()
    if threshold is None:
        if low < high:
            notes.append(
                f"ratings from {low:g} to {high:g}, no threshold given: every row counts as a positive (threshold={high - 1:g} would be stricter)"
            )
        return rows
    positive = rating_N >= threshold
    notes.append(
        f"ratings from {low:g} to {high:g}: the {positive.sum():,} rows of at least {threshold:g} are positives, {(~positive).sum():,} are not"
    )
    if not positive.any():
        raise CounterpointError(
            f"threshold={threshold:g}: no rating is that high (they run from {low:g} to {high:g}); use a lower one"
        )
    return rows.keep(positive, arrays)


def _coded(parts: list[pa.ChunkedArray]) -> pa.DictionaryArray:
    """Ids of all parts as codes, numbered as they first occur."""
    every = pa.chunked_array(
        [chunk.cast(pa.string()) for part in parts for chunk in part.chunks], pa.string()
    )
    return every.dictionary_encode().unify_dictionaries().combine_chunks()


def distinct(rows: CodedPairs, notes: list[str], arrays: Arrays) -> CodedPairs:
    """Each pair once: in its earliest part (training first, so that nothing leaks), at its earliest time."""
    again, leaked = (arrays.empty(len(rows.users), bool) for _ in range(2))
    for some in _by_user(rows):
        times = None if rows.times is None else rows.times[some]
        key = rows.users[some].astype(np.int64) * len(rows.item_ids) + rows.items[some]
        again[some], leaked[some] = _repeated(key, times, rows.part[some])
    if leaked.any():
        notes.append(
            f"leaks: {leaked.sum():,} evaluation pairs also stand in an earlier split; taken out of the evaluation"
        )
    notes.append(f"duplicates: {(again & ~leaked).sum():,} repeated pairs, counted once")
    return rows.keep(~again, arrays)


def _by_user(rows: CodedPairs) -> Iterator[np.ndarray | slice]:
    """Which rows are compared together: all of some users, about ``BUCKET`` of them."""
    if len(rows.users) <= BUCKET:
        yield slice(None)
        return
    before = np.cumsum(counts(rows.users, len(rows.user_ids)))
    first = 0
    while first < len(before):
        held = before[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(before, held + BUCKET, "right")))
        yield np.concatenate(
            [start + np.flatnonzero((part >= first) & (part < last)) for start, part in parts(rows.users)]
        )
        first = last


def _repeated(
    key_N: np.ndarray, times_N: np.ndarray | None, part_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[N] whether a row repeats an earlier one, and whether that stands in another part."""
    times = np.zeros(len(key_N)) if times_N is None else times_N
    order = np.lexsort((np.arange(len(key_N)), times, part_N, key_N))
    again = np.zeros(len(key_N), bool)
    again[order[1:]] = key_N[order[1:]] == key_N[order[:-1]]
    first = order[np.maximum.accumulate(np.where(again[order], 0, np.arange(len(order))))]
    leaked = np.zeros(len(key_N), bool)
    leaked[order] = part_N[order] != part_N[first]
    return again, leaked


def dense_core(rows: CodedPairs, core: int, notes: list[str], arrays: Arrays) -> CodedPairs:
    """Drop users and items with fewer pairs than ``core``, again and again until none is left."""
    before = len(rows.users)
    while True:
        many = [
            counts(codes, len(ids)) >= core
            for codes, ids in ((rows.users, rows.user_ids), (rows.items, rows.item_ids))
        ]
        dense = arrays.taken(many[0], rows.users) & arrays.taken(many[1], rows.items)
        if dense.all():
            break
        rows = rows.keep(dense, arrays)
        if not dense.any():
            raise CounterpointError(
                f"core={core}: no user and item with that many pairs remain; use a smaller one"
            )
    notes.append(f"core {core}: {before - len(rows.users):,} pairs of rare users and items dropped")
    return rows


def split_rows(
    rows: CodedPairs,
    split: str,
    test: float,
    validation: float,
    seed: int,
    notes: list[str],
    arrays: Arrays,
) -> np.ndarray:
    """[N] of 0 training, 1 validation, 2 test."""
    total = len(rows.users)
    order = arrays.shuffled(total, np.random.default_rng(seed))
    if split != "ratio":
        if rows.times is None:
            raise CounterpointError(
                f"split={split!r} needs a time column, and there is none; name it with --data-option time=COLUMN, or use --data-option split=ratio"
            )
        _one_unit(rows.times)
        order = order[np.argsort(rows.times[order], kind="stable")]
    part = arrays.empty(total, np.int8)
    if split == "last":
        order = order[np.argsort(rows.users[order], kind="stable")]
        per_user = counts(rows.users, len(rows.user_ids))
        rank, size = np.empty(total, np.int64), per_user[rows.users]
        start = np.concatenate([[0], np.cumsum(per_user)[:-1]])
        rank[order] = np.arange(total) - start[rows.users[order]]
        held = np.rint(test * size)
        middle = np.rint(validation * (size - held))
        part[:] = np.where(rank >= size - held, 2, rank >= size - held - middle)
    else:
        held = int(np.rint(test * total))
        middle = int(np.rint(validation * (total - held)))
        part[:] = 0
        part[order[total - held - middle : total - held]] = 1
        part[order[total - held :]] = 2
    seeded = f", seed {seed}" if split == "ratio" else ""
    notes.append(f"split: {split} (test {test:g}, validation {validation:g} of the rest{seeded})")
    return part


UNITS = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
"""Since 1970, what times of the years 1973 to 2290 begin with in each."""


def _one_unit(times_N: np.ndarray) -> None:
    """Refuse times that count seconds in one row and milliseconds in another: their order would be no order.

    Raises:
        CounterpointError: with how many there are of each.
    """
    counted = dict.fromkeys(UNITS, 0)
    for _, some in parts(times_N):
        for unit, least in UNITS.items():
            counted[unit] += int(((some >= least) & (some < 100 * least)).sum())
    mixed = [f"{count:,} {unit}" for unit, count in counted.items() if count]
    if len(mixed) > 1:
        raise CounterpointError(
            f"the times are of more than one unit, by their size: {', '.join(mixed)} since 1970; write one, or split at random: "
            "--data-option split=ratio"
        )
