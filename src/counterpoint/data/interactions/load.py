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

from counterpoint.data.interactions.files import Table, read_saved, read_table
from counterpoint.data.interactions.rows import CodedPairs, dense_core, distinct, positives, split_rows
from counterpoint.data.tables import stored
from counterpoint.data.walk import walk
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

    def interactions_before(self, split: str) -> Pairs:
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
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Interactions:
    """Load, validate and split interactions.

    Args:
        spec: a file, a folder with ``train.*``, ``test.*`` and perhaps ``validation.*`` or with ``interactions.*``,
            or a bundled name. A column ``split`` of a single file says train, validation or test in every row.
        user, item, rating, time: column names where the usual ones do not apply.
        threshold: rows rated lower are no positives (bundled data: 4).
        split: "ratio" (random pairs), "time" (the latest pairs overall) or "last" (each user's latest pairs);
            ignored where files, or a column "split", are the split.
        test: share of all pairs held out for the test.
        validation: share of the pairs that remain, held out for choosing between models.
        split_seed: of the random split, and of the order of pairs of equal time.
        core: repeatedly drop users and items with fewer pairs than this (0: none).
        layout: "rows", or "lists" for `user item item ...` lines.
        delimiter: between the cells of text (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files; without it UTF-8, what a byte-order mark says, or else cp1252.

    Raises:
        CounterpointError: says what was given, what was expected, and the call that works.
    """
    _check_options(split, test, validation, core)
    name, spec = str(spec), Path(spec)
    if name in BUNDLED:
        from counterpoint.bundled.convert import data as bundled

        spec = Path(bundled.path(name))
        threshold = BUNDLED[name] if threshold is None else threshold
    if not spec.exists():
        raise CounterpointError(
            f"{spec}: there is no such file or folder; expected a file of `user item [rating] [time]` lines, "
            f"a folder with train.* and test.*, or one of {', '.join(BUNDLED)}"
        )
    columns = {"user": user, "item": item, "rating": rating, "time": time}
    if stored.is_saved(spec):
        tables = read_saved(spec, columns)
        files = dict.fromkeys(tables, spec)
    else:
        files = _files(spec)
        tables = {
            part: read_table(file, columns, layout, delimiter, encoding) for part, file in files.items()
        }
    notes = [f"{files[part].name}: {table.understood}" for part, table in tables.items()]
    tables = _by_column(tables, files)
    rows = positives(tables, threshold, notes)
    rows = distinct(rows, notes)
    if core > 1:
        rows = dense_core(rows, core, notes)
    if len(tables) == 1:
        part = split_rows(rows, split, test, validation, split_seed, notes)
    else:
        part = rows.part
        if "validation" not in tables and validation:
            inside = np.flatnonzero(part == 0)
            chosen = np.random.default_rng(split_seed).permutation(inside)[: round(validation * len(inside))]
            part = part.copy()
            part[chosen] = 1
            notes.append(
                f"validation: {len(chosen):,} pairs taken at random (seed {split_seed}) from the training rows"
            )
    return _numbered(rows, part, notes)


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
    files = walk(spec, deep=False).files
    whole = [file for file in files if file.name.stem.lower() in {"interactions", "ratings"}]
    if len(whole) == 1:
        return {"all": whole[0].path}
    chosen: dict[str, Path] = {}
    for part, names in PARTS.items():
        matches = [file for file in files if file.name.stem.lower() in names]
        if len(matches) > 1:
            raise CounterpointError(
                f"{spec}: {', '.join(str(file.name) for file in matches)} all name the {part} split; keep one"
            )
        if matches:
            chosen[part] = matches[0].path
    for part in ("train", "test"):
        if part not in chosen:
            there = ", ".join([str(file.name) for file in files][:8]) or "nothing"
            raise CounterpointError(
                f"{spec}: no {part}.* in this folder (found {there}); expected train.* and test.*, or one interactions.* to be split"
            )
    return chosen


def _by_column(tables: dict[str, Table], files: dict[str, Path]) -> dict[str, Table]:
    """A single table divided as its column ``split`` says; others as they are.

    Raises:
        CounterpointError: it names no training rows, or no test rows.
    """
    splits = tables["all"].splits if "all" in tables else None
    if splits is None:
        return tables
    for part in ("train", "test"):
        if part not in splits:
            raise CounterpointError(
                f"{files['all']}: the column 'split' names no {part} rows; expected train and test (and validation), or rename the column"
            )
    return {part: tables["all"].take(splits == part) for part in PARTS if part in splits}


def _numbered(rows: CodedPairs, part: np.ndarray, notes: list[str]) -> Interactions:
    """Number users and items by the training pairs."""
    train = part == 0
    users, items = np.unique(rows.users[train]), np.unique(rows.items[train])
    for numbered, role in ((users, "user"), (items, "item")):
        if len(numbered) < 2:
            raise CounterpointError(
                f"only {len(numbered)} {role} in {int(train.sum())} training pairs; a recommender learns from many users sharing many "
                f"items: expected at least 2 (is the {role} column the right one?)"
            )
    code = [np.full(len(ids), -1) for ids in (rows.user_ids, rows.item_ids)]
    code[0][users], code[1][items] = np.arange(len(users)), np.arange(len(items))
    u, i = code[0][rows.users], code[1][rows.items]
    seen = (u >= 0) & (i >= 0)
    if (~seen).any():
        notes.append(
            f"cold: {(~seen).sum():,} evaluation pairs of users or items without a training pair; taken out of the evaluation"
        )
    parts = [
        Pairs(torch.from_numpy(u[seen & (part == p)]), torch.from_numpy(i[seen & (part == p)]))
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
        pc.take(ids, pa.array(index)).to_pylist()
        for ids, index in ((rows.user_ids, users), (rows.item_ids, items))
    ]
    return Interactions(ids[0], ids[1], parts[0], parts[1], parts[2], notes)
