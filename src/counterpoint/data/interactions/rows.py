"""Rows of interactions on their way to a split: positives by rating, each pair once, a dense core, the split itself.

Each step appends to ``notes`` what it understood or left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from counterpoint.data.interactions.files import Table
from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class CodedPairs:
    """Coded rows: user and item codes into the id lists, time (or None), and the part each row was read from."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    part: np.ndarray
    user_ids: pa.Array
    item_ids: pa.Array

    def keep(self, rows: np.ndarray) -> CodedPairs:
        """Return the rows of a mask or of positions."""
        times = None if self.times is None else self.times[rows]
        return CodedPairs(
            self.users[rows], self.items[rows], times, self.part[rows], self.user_ids, self.item_ids
        )


def positives(tables: dict[str, Table], threshold: float | None, notes: list[str]) -> CodedPairs:
    """One coded table of positive rows."""
    users = _coded([table.users for table in tables.values()])
    items = _coded([table.items for table in tables.values()])
    order = {"all": 0, "train": 0, "validation": 1, "test": 2}
    part = np.concatenate([np.full(len(table), order[name], np.int8) for name, table in tables.items()])
    times = [table.times for table in tables.values()]
    ratings = [table.ratings for table in tables.values()]
    rows = CodedPairs(
        users.indices.to_numpy().astype(np.int64),
        items.indices.to_numpy().astype(np.int64),
        np.concatenate([t for t in times if t is not None]) if all(t is not None for t in times) else None,
        part,
        users.dictionary,
        items.dictionary,
    )
    if any(r is None for r in ratings):
        if threshold is not None:
            raise CounterpointError(
                f"threshold={threshold} was given, but there is no rating column to hold against it; "
                "name it with --data-option rating=COLUMN, or leave the threshold out"
            )
        return rows
    rating = np.concatenate([r for r in ratings if r is not None])
    low, high = rating.min(), rating.max()
    if threshold is None:
        if low < high:
            notes.append(
                f"ratings from {low:g} to {high:g}, no threshold given: every row counts as a positive (threshold={high - 1:g} would be stricter)"
            )
        return rows
    positive = rating >= threshold
    notes.append(
        f"ratings from {low:g} to {high:g}: the {positive.sum():,} rows of at least {threshold:g} are positives, {(~positive).sum():,} are not"
    )
    if not positive.any():
        raise CounterpointError(
            f"threshold={threshold:g}: no rating is that high (they run from {low:g} to {high:g}); use a lower one"
        )
    return rows.keep(positive)


def _coded(parts: list[pa.ChunkedArray]) -> pa.DictionaryArray:
    """Ids of all parts as codes, numbered as they first occur."""
    every = pa.chunked_array(
        [chunk.cast(pa.string()) for part in parts for chunk in part.chunks], pa.string()
    )
    return every.dictionary_encode().unify_dictionaries().combine_chunks()


def distinct(rows: CodedPairs, notes: list[str]) -> CodedPairs:
    """Each pair once: in its earliest part (training first, so that nothing leaks), at its earliest time."""
    key = rows.users * len(rows.item_ids) + rows.items
    times = np.zeros(len(key)) if rows.times is None else rows.times
    order = np.lexsort((np.arange(len(key)), times, rows.part, key))
    again = np.zeros(len(key), bool)
    again[order[1:]] = key[order[1:]] == key[order[:-1]]
    first = order[np.maximum.accumulate(np.where(again[order], 0, np.arange(len(order))))]
    leaked = np.zeros(len(key), bool)
    leaked[order] = rows.part[order] != rows.part[first]
    if leaked.any():
        notes.append(
            f"leaks: {leaked.sum():,} evaluation pairs also stand in an earlier split; taken out of the evaluation"
        )
    notes.append(f"duplicates: {(again & ~leaked).sum():,} repeated pairs, counted once")
    return rows.keep(~again)


def dense_core(rows: CodedPairs, core: int, notes: list[str]) -> CodedPairs:
    """Drop users and items with fewer pairs than ``core``, again and again until none is left."""
    before = len(rows.users)
    while True:
        dense = (np.bincount(rows.users)[rows.users] >= core) & (np.bincount(rows.items)[rows.items] >= core)
        if dense.all():
            break
        rows = rows.keep(dense)
        if not dense.any():
            raise CounterpointError(
                f"core={core}: no user and item with that many pairs remain; use a smaller one"
            )
    notes.append(f"core {core}: {before - len(rows.users):,} pairs of rare users and items dropped")
    return rows


def split_rows(
    rows: CodedPairs, split: str, test: float, validation: float, seed: int, notes: list[str]
) -> np.ndarray:
    """[P] of 0 training, 1 validation, 2 test."""
    total = len(rows.users)
    order = np.random.default_rng(seed).permutation(total)
    if split != "ratio":
        if rows.times is None:
            raise CounterpointError(
                f"split={split!r} needs a time column, and there is none; name it with --data-option time=COLUMN, or use --data-option split=ratio"
            )
        order = order[np.argsort(rows.times[order], kind="stable")]
    rank, size = np.empty(total, np.int64), np.full(total, total)
    if split == "last":
        order = order[np.argsort(rows.users[order], kind="stable")]
        size = np.bincount(rows.users)[rows.users]
        start = np.concatenate([[0], np.cumsum(np.bincount(rows.users))[:-1]])
        rank[order] = np.arange(total) - start[rows.users[order]]
    else:
        rank[order] = np.arange(total)
    held = np.rint(test * size)
    middle = np.rint(validation * (size - held))
    part = np.where(rank >= size - held, 2, np.where(rank >= size - held - middle, 1, 0)).astype(np.int8)
    seeded = f", seed {seed}" if split == "ratio" else ""
    notes.append(f"split: {split} (test {test:g}, validation {validation:g} of the rest{seeded})")
    return part
