"""From coded rows to a data set: positives, each once, split, and numbered by the training pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from counterpoint.data import row_numbers
from counterpoint.data.interactions.arrays import Arrays
from counterpoint.data.interactions.pairs import Interactions, Pairs
from counterpoint.data.interactions.rows import CodedPairs, dense_core, distinct, positives, split_rows
from counterpoint.errors import CounterpointError, counted

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Splitting:
    """Options of ``load_interactions`` by which rows become pairs of three splits."""

    threshold: float | None
    split: str
    test: float
    validation: float
    seed: int
    core: int


def in_memory(split: str, count: int) -> np.ndarray:
    """[2, count] users and items of a split's pairs, to be filled."""
    return np.empty((2, count), np.int64)


def finished(
    rows: CodedPairs,
    ratings: np.ndarray | None,
    present: set[str],
    how: Splitting,
    notes: list[str],
    arrays: Arrays,
    make: Callable[[str, int], np.ndarray],
) -> Interactions:
    """Positives, each once, split and numbered.

    Args:
        rows, ratings: as read. present: the parts that files, or a column, name; {"all"} where none does.
        arrays: for what is needed on the way. make: of ``in_memory``.
    """
    rows = positives(rows, ratings, how.threshold, notes, arrays)
    rows = distinct(rows, notes, arrays)
    if how.core > 1:
        rows = dense_core(rows, how.core, notes, arrays)
    if len(present) == 1:
        part = split_rows(rows, how.split, how.test, how.validation, how.seed, notes, arrays)
    else:
        part = rows.part
        if "validation" not in present and how.validation:
            inside = row_numbers.positions(part == 0)
            chosen = arrays.shuffled(inside, np.random.default_rng(how.seed))
            chosen = chosen[: round(how.validation * len(inside))]
            moved = arrays.empty(len(part), part.dtype)
            moved[:] = part
            moved[chosen] = 1
            part = moved
            notes.append(
                f"validation: {len(chosen):,} pairs taken at random (seed {how.seed}) from the training rows"
            )
    return _numbered(rows, part, notes, arrays, make)


def _numbered(
    rows: CodedPairs,
    part: np.ndarray,
    notes: list[str],
    arrays: Arrays,
    make: Callable[[str, int], np.ndarray],
) -> Interactions:
    """Number users and items by the training pairs."""
    code, ids = [], []
    for codes, names, role in ((rows.users, rows.user_ids, "user"), (rows.items, rows.item_ids, "item")):
        there = np.zeros(len(names), bool)
        for start, some in row_numbers.parts(codes):
            there[some[part[start : start + len(some)] == 0]] = True
        in_train = np.flatnonzero(there)
        if len(in_train) < 2:
            raise CounterpointError(
                f"only {len(in_train)} {role} in {int((part == 0).sum())} training pairs; a recommender learns from many users sharing many "
                f"items: expected at least 2 (is the {role} column the right one?)"
            )
        code.append(np.full(len(names), -1))
        code[-1][in_train] = np.arange(len(in_train))
        ids.append([names[number] for number in in_train.tolist()])
    seen = (arrays.taken(code[0] >= 0, rows.users)) & (arrays.taken(code[1] >= 0, rows.items))
    if not seen.all():
        notes.append(
            f"cold: {(~seen).sum():,} evaluation pairs of users or items without a training pair; taken out of the evaluation"
        )
    parts = []
    for number, name in enumerate(NAMES):
        chosen = seen & (part == number)
        pairs_2P, filled = make(name, int(np.count_nonzero(chosen))), 0
        for start, some in row_numbers.parts(chosen):
            here = slice(start, start + len(some))
            new = slice(filled, filled + int(np.count_nonzero(some)))
            pairs_2P[0, new], pairs_2P[1, new] = (
                code[0][rows.users[here][some]],
                code[1][rows.items[here][some]],
            )
            filled = new.stop
        parts.append(Pairs(*torch.from_numpy(pairs_2P)))
    pairs, (users, items) = len(parts[0]), map(len, ids)
    notes.append(
        f"{users:,} users, {items:,} items; {' + '.join(f'{len(p):,}' for p in parts)} pairs (training, validation, test); density {pairs / users / items:.2%}"
    )
    full = int((torch.bincount(parts[0].users) == items).sum())
    if full:
        raise CounterpointError(
            f"{counted(full, 'user has', 'users have')} met every one of the {items} items: nothing is left to rank below; drop them, or use a threshold"
        )
    return Interactions(ids[0], ids[1], parts[0], parts[1], parts[2], notes)


def check_parts(present: set[str], files: dict[str, Path]) -> None:
    """Raise where the column of splits of a file names no training rows, or no test rows."""
    for part in ("train", "test"):
        if part not in present:
            raise CounterpointError(
                f"{files['all']}: the column 'split' names no {part} rows; expected train and test (and validation), or rename the column"
            )
