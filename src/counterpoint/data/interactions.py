"""Interactions: which user met which item, split into training, validation and test, with what was understood on the way.

Positives only: a row is a positive, or, where ratings and a threshold are given, a row rated at least that. Users and
items are numbered by the training pairs; evaluation pairs of unknown users or items cannot be ranked, and are counted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from counterpoint.data.interaction_files import Table, read_table
from counterpoint.errors import CounterpointError, nearest

BUNDLED = {"movielens-100k": 4.0, "movielens-1m": 4.0}  # name -> rating from which a row is a positive
SPLITS = ("ratio", "time", "last")
PARTS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class Pairs:
    """Positive pairs: ``users`` [P] and ``items`` [P], both int64 positions. Indexing by a tensor gives pairs again."""

    users: Tensor
    items: Tensor

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: Tensor) -> Pairs:
        return Pairs(self.users[index], self.items[index])


@dataclass(frozen=True)
class Interactions:
    """A data set of positives.

    Attributes:
        users, items: the ids as they stand in the file; a position in these lists is what the pairs speak of.
        train, validation, test: the pairs. Validation and test hold no training pair and no unknown user or item.
        notes: what was understood, dropped or suspicious, a line each.
    """

    users: list[str]
    items: list[str]
    train: Pairs
    validation: Pairs
    test: Pairs
    notes: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """What was understood: rows, columns, threshold, sizes, duplicates, leaks."""
        return list(self.notes)

    def fingerprint(self) -> str:
        """Return the sha256 of ids and pairs: two data sets with the same one train and rank alike."""
        digest = hashlib.sha256("\n".join([*self.users, "", *self.items]).encode())
        for pairs in (self.train, self.validation, self.test):
            digest.update(torch.stack([pairs.users, pairs.items]).numpy().tobytes())
        return digest.hexdigest()

    def held_out(self, split: str) -> Pairs:
        """Pairs of an evaluation split; an error if there are none."""
        if split not in {"validation", "test"}:
            raise CounterpointError(f"split={split!r}: expected 'validation' or 'test'")
        pairs: Pairs = getattr(self, split)
        if not len(pairs):
            raise CounterpointError(
                f"there are no {split} pairs; load the data with {split}=0.1 or so to hold some out"
            )
        return pairs

    def known_before(self, split: str) -> Pairs:
        """Pairs that must not be recommended when ``split`` is ranked: training, and for the test also validation."""
        if split == "validation":
            return self.train
        both = (self.train, self.validation)
        return Pairs(torch.cat([pairs.users for pairs in both]), torch.cat([pairs.items for pairs in both]))

    @cached_property
    def popularity(self) -> Tensor:
        """[I], the number of training pairs of each item."""
        return torch.bincount(self.train.items, minlength=len(self.items))


def load_interactions(
    spec: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    threshold: float | None = None,
    split: str = "ratio",
    test: float = 0.2,
    validation: float = 0.1,
    split_seed: int = 0,
    core: int = 0,
    layout: str = "rows",
) -> Interactions:
    """Load, validate and split interactions.

    Args:
        spec: a file, a folder with ``train.*``, ``test.*`` and perhaps ``validation.*``, or a bundled name.
        user, item, rating, time: column names where the usual ones do not apply.
        threshold: rows rated lower are no positives (bundled data: 4).
        split: "ratio" (random pairs), "time" (the latest pairs overall) or "last" (each user's latest pairs);
            ignored for a folder, whose files are the split.
        test: share of all pairs held out for the test.
        validation: share of the pairs that remain, held out for choosing between models.
        split_seed: of the random split, and of the order of pairs of equal time.
        core: repeatedly drop users and items with fewer pairs than this (0: none).
        layout: "rows", or "lists" for `user item item ...` lines.

    Raises:
        CounterpointError: says what was given, what was expected, and the call that works.
    """
    _check_options(split, test, validation, core)
    name, spec = str(spec), Path(spec)
    if name in BUNDLED:
        from counterpoint.data import bundled

        spec = Path(bundled.path(name))
        threshold = BUNDLED[name] if threshold is None else threshold
    if not spec.exists():
        raise CounterpointError(
            f"{spec}: there is no such file or folder; expected a file of `user item [rating] [time]` lines, "
            f"a folder with train.* and test.*, or one of {', '.join(BUNDLED)}"
        )
    columns = {"user": user, "item": item, "rating": rating, "time": time}
    files = _files(spec)
    tables = {part: read_table(file, columns, layout) for part, file in files.items()}
    notes = [f"{files[part].name}: {table.understood}" for part, table in tables.items()]
    rows = _positives(tables, threshold, notes)
    rows = _distinct(rows, notes)
    if core > 1:
        rows = _core(rows, core, notes)
    if len(tables) == 1:
        part = _split(rows, split, test, validation, split_seed, notes)
    else:
        part = rows.part
        if "validation" not in tables and validation:
            inside = np.flatnonzero(part == 0)
            chosen = np.random.default_rng(split_seed).permutation(inside)[: round(validation * len(inside))]
            part = part.copy()
            part[chosen] = 1
            notes.append(
                f"validation: {len(chosen):,} pairs taken at random (seed {split_seed}) from the training file"
            )
    return _numbered(rows, part, notes)


@dataclass(frozen=True)
class _Rows:
    """Coded rows: user and item codes into the id lists, time (or None), and the part each row was read from."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    part: np.ndarray
    user_ids: pa.Array
    item_ids: pa.Array

    def keep(self, rows: np.ndarray) -> _Rows:
        times = None if self.times is None else self.times[rows]
        return _Rows(self.users[rows], self.items[rows], times, self.part[rows], self.user_ids, self.item_ids)


def _check_options(split: str, test: float, validation: float, core: int) -> None:
    if split not in SPLITS:
        raise CounterpointError(
            f"split={split!r}: expected one of {', '.join(SPLITS)}; {nearest(split, SPLITS)}"
        )
    for option, share in {"test": test, "validation": validation}.items():
        if not 0 <= share < 1:
            raise CounterpointError(
                f"{option}={share}: expected a share from 0 up to, not including, 1, such as {option}=0.1"
            )
    if core < 0:
        raise CounterpointError(f"core={core}: expected 0 (keep everybody) or a number of pairs such as 5")


def _files(spec: Path) -> dict[str, Path]:
    if spec.is_file():
        return {"all": spec}
    found: dict[str, Path] = {}
    for part, names in PARTS.items():
        matches = [file for file in sorted(spec.iterdir()) if file.is_file() and file.stem.lower() in names]
        if len(matches) > 1:
            raise CounterpointError(
                f"{spec}: {', '.join(file.name for file in matches)} all name the {part} split; keep one"
            )
        if matches:
            found[part] = matches[0]
    for part in ("train", "test"):
        if part not in found:
            there = ", ".join(sorted(file.name for file in spec.iterdir())[:8]) or "nothing"
            raise CounterpointError(
                f"{spec}: no {part}.* in this folder (found {there}); expected train.* and test.*, or give one file to be split"
            )
    return found


def _positives(tables: dict[str, Table], threshold: float | None, notes: list[str]) -> _Rows:
    """One coded table of positive rows."""
    users = pa.concat_arrays([table.users for table in tables.values()]).dictionary_encode()
    items = pa.concat_arrays([table.items for table in tables.values()]).dictionary_encode()
    order = {"all": 0, "train": 0, "validation": 1, "test": 2}
    part = np.concatenate([np.full(len(table), order[name], np.int8) for name, table in tables.items()])
    times = [table.times for table in tables.values()]
    ratings = [table.ratings for table in tables.values()]
    rows = _Rows(
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
                "name it with rating='...', or leave the threshold out"
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
    kept = rating >= threshold
    notes.append(
        f"ratings from {low:g} to {high:g}: the {kept.sum():,} rows of at least {threshold:g} are positives, {(~kept).sum():,} are not"
    )
    if not kept.any():
        raise CounterpointError(
            f"threshold={threshold:g}: no rating is that high (they run from {low:g} to {high:g}); use a lower one"
        )
    return rows.keep(kept)


def _distinct(rows: _Rows, notes: list[str]) -> _Rows:
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


def _core(rows: _Rows, core: int, notes: list[str]) -> _Rows:
    before = len(rows.users)
    while True:
        kept = (np.bincount(rows.users)[rows.users] >= core) & (np.bincount(rows.items)[rows.items] >= core)
        if kept.all():
            break
        rows = rows.keep(kept)
        if not kept.any():
            raise CounterpointError(
                f"core={core}: no user and item with that many pairs remain; use a smaller one"
            )
    notes.append(f"core {core}: {before - len(rows.users):,} pairs of rare users and items dropped")
    return rows


def _split(
    rows: _Rows, split: str, test: float, validation: float, seed: int, notes: list[str]
) -> np.ndarray:
    """[P] of 0 training, 1 validation, 2 test."""
    total = len(rows.users)
    order = np.random.default_rng(seed).permutation(total)
    if split != "ratio":
        if rows.times is None:
            raise CounterpointError(
                f"split={split!r} needs a time column, and there is none; name it with time='...', or use split='ratio'"
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


def _numbered(rows: _Rows, part: np.ndarray, notes: list[str]) -> Interactions:
    """Number users and items by the training pairs."""
    train = part == 0
    users, items = np.unique(rows.users[train]), np.unique(rows.items[train])
    for found, role in ((users, "user"), (items, "item")):
        if len(found) < 2:
            raise CounterpointError(
                f"only {len(found)} {role} in {int(train.sum())} training pairs; a recommender learns from many users sharing many "
                f"items: expected at least 2 (is the {role} column the right one?)"
            )
    code = [np.full(len(ids), -1) for ids in (rows.user_ids, rows.item_ids)]
    code[0][users], code[1][items] = np.arange(len(users)), np.arange(len(items))
    u, i = code[0][rows.users], code[1][rows.items]
    known = (u >= 0) & (i >= 0)
    if (~known).any():
        notes.append(
            f"cold: {(~known).sum():,} evaluation pairs of users or items without a training pair; taken out of the evaluation"
        )
    parts = [
        Pairs(torch.from_numpy(u[known & (part == p)]), torch.from_numpy(i[known & (part == p)]))
        for p in range(3)
    ]
    pairs = len(parts[0])
    notes.append(
        f"{len(users):,} users, {len(items):,} items; {' + '.join(f'{len(p):,}' for p in parts)} pairs (training, validation, test); density {pairs / len(users) / len(items):.2%}"
    )
    full = int((torch.bincount(parts[0].users) == len(items)).sum())
    if full:
        raise CounterpointError(
            f"{full} users have met every one of the {len(items)} items: nothing is left to rank below; drop them, or use a threshold"
        )
    ids = [
        pc.take(ids, pa.array(kept)).to_pylist()
        for ids, kept in ((rows.user_ids, users), (rows.item_ids, items))
    ]
    return Interactions(ids[0], ids[1], *parts, notes)
