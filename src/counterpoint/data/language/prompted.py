"""What problems and preferences share: rows that belong to a prompt, read from files and split by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar, overload

import numpy as np

from counterpoint.conversation import Prompt, stored
from counterpoint.data import row_numbers, tables
from counterpoint.data.language.stored_rows import (
    Look,
    StoredRows,
    counted_again,
    hashed,
    stored_rows,
    understood,
)
from counterpoint.errors import CounterpointError, counted


def prompt_key(prompt: Prompt) -> str:
    """The prompt, normalised, for finding duplicates and for splitting.

    >>> prompt_key("two  words\\n")
    'two words'
    """
    text = prompt if isinstance(prompt, str) else json.dumps(stored(prompt), sort_keys=True)
    return " ".join(text.split())


class Prompted(Protocol):
    """A row that knows its file and the key of its prompt; a dataclass."""

    @property
    def origin(self) -> str:
        """Its file and number there; empty where it is of none."""

    def key(self) -> str:
        """The prompt, normalised."""


T = TypeVar("T", bound=Prompted)
U = TypeVar("U")


def origin_of(rows: Sequence[Prompted], index: int) -> str:
    """A row's file and number there, or its number among the rows where it is of no file; for messages."""
    return getattr(rows[index], "origin", "") or f"row {index + 1}"


class PromptedRows(Generic[T]):
    """One split: rows by index, by slice, or by an index tensor (then a list). They are in memory, or stay on disk."""

    def __init__(self, rows: Iterable[T]) -> None:
        self.rows: Sequence[T] = rows if isinstance(rows, StoredRows) else list(rows)

    def select(self, numbers: Sequence[int]) -> Self:
        """The same split with some of its rows."""
        part = copy(self)
        part.rows = picked(self.rows, numbers)
        return part

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    @overload
    def __getitem__(self, where: int) -> T: ...
    @overload
    def __getitem__(self, where: Any) -> list[T]: ...
    def __getitem__(self, where: Any) -> T | list[T]:
        if isinstance(where, int | slice):
            return self.rows[where]  # type: ignore[return-value]
        return [self.rows[int(number)] for number in where]


class Each(Sequence[U]):
    """Rows that are made when they are read, of numbers: nothing of them is held.

    Args:
        numbers: one a row. make: a row of its number.

    >>> list(Each([2, 0], lambda number: f"{number}+1="))
    ['2+1=', '0+1=']
    """

    def __init__(self, numbers: Sequence[int], make: Callable[[int], U]) -> None:
        self.numbers, self.make = numbers, make

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, where: int) -> U: ...
    @overload
    def __getitem__(self, where: slice) -> Each[U]: ...
    def __getitem__(self, where: int | slice) -> U | Each[U]:
        if isinstance(where, slice):
            return Each(self.numbers[where], self.make)
        return self.make(self.numbers[where])


def read(
    path: Path,
    parse: Callable[[dict[str, Any], Path, int], T],
    validation: float,
    test: float,
    delimiter: str | None = None,
    encoding: str | None = None,
    held: Held[T] | None = None,
) -> tuple[dict[str, Sequence[T]], list[str]]:
    """Read the splits of a file or folder, ``parse(row, its file, its number there)`` each row, and cut what is missing from train.

    ``delimiter`` and ``encoding`` are of the files, as in ``data.tables.read_table``; ``held`` says where rows stay.

    Returns:
        Rows by split, and what was done, for the person.

    Raises:
        CounterpointError: nothing there, no train split, too few rows, shares that leave nothing for training.
    """
    parts: dict[str, Sequence[T]] = {}
    notes: list[str] = []
    unread: dict[str, None] = {}
    where = held.where if held else "memory"
    for name, split_tables in tables.read_splits(path, delimiter, encoding, where).items():
        if held and all(isinstance(table.data, tables.RowsOnDisk) for table in split_tables):
            parts[name] = stored_rows(split_tables, parse, held.look, held.name)
        else:
            parts[name] = [
                understood(parse, table, index, row)
                for table in split_tables
                for index, row in enumerate(table.rows())
            ]
        notes += [note for table in split_tables for note in (*table.notes, *table.gap_notes())]
        if held and held.columns is not None:
            names = list(dict.fromkeys(name for table in split_tables for name in table.names))
            read_from = held.columns(names)
            unread.update({name: None for name in names if name not in read_from})
    if unread:
        notes.append(f"no row is read from the column{'s' * (len(unread) > 1)} " + ", ".join(unread))
    if "all" in parts:
        notes.append(
            f"one file: {validation:.0%} went to validation and {test:.0%} to test, by a hash of the prompt"
        )
        cut = _split(parts["all"], validation, test, path)
        for name, share in (("validation", validation), ("test", test)):
            if share and not len(cut[name]):
                notes.append(
                    f"no row went to {name}: rows of a prompt stay together, and there are too few prompts; give more, another share "
                    f"(--data-option {name}=0.3), or rows of its own in the column 'split'"
                )
        return cut, notes
    if "train" not in parts:
        raise CounterpointError(
            f"{path} holds {', '.join(parts)} but no train split; name one file train.jsonl, or give its rows 'train' in the column 'split'"
        )
    for name, share in (("validation", validation), ("test", test)):
        if name not in parts:
            cut = _split(parts["train"], share, 0.0, path)
            parts["train"], parts[name] = cut["train"], cut["validation"]
            notes.append(
                f"no {name} rows of its own: {share:.0%} of train went to it, by a hash of the prompt"
            )
    return parts, notes


@dataclass(frozen=True)
class Held(Generic[T]):
    """Where rows are held (``tables.Rows``), and what is counted of those that stay on disk.

    Attributes:
        name: of the kind, with the options that a row is understood by.
        columns: which of a file's columns a row is read from, for a note of the others; None makes none.
    """

    where: tables.Rows
    look: Look[T]
    name: str
    columns: Callable[[Sequence[str]], set[str]] | None = None


def picked(rows: Sequence[T], numbers: Sequence[int] | np.ndarray) -> Sequence[T]:
    """The rows with these numbers."""
    if len(numbers) == len(rows):
        return rows
    if isinstance(rows, StoredRows):
        return rows.select(numbers)
    return [rows[int(number)] for number in numbers]


def changed(rows: Sequence[T], name: str, change: Callable[[T, int], T], look: Look[T]) -> Sequence[T]:
    """Each row changed by ``change(row, its number from 1)``; rows on disk when they are read (there, the number is 0)."""
    if isinstance(rows, StoredRows):
        return counted_again(rows.changed(name, lambda row: change(row, 0)), look)
    return [change(row, number) for number, row in enumerate(rows, 1)]


def short_ones(rows: Sequence[T], size: np.ndarray, limit: int, split: str, notes: list[str]) -> Sequence[T]:
    """Rows of at most ``limit`` characters, by their [N] sizes; how many were left out goes into the notes."""
    short = picked(rows, row_numbers.positions(size <= limit))
    if len(short) < len(rows):
        notes.append(
            f"{split}: left out {counted(len(rows) - len(short), 'row')} longer than {limit} characters"
        )
    return short


def overlaps(keys: Mapping[str, np.ndarray]) -> list[str]:
    """A note for each evaluation split with prompts that are also in train, by the hashes of each split's prompts, train's sorted."""
    none = np.zeros(0, np.uint64)
    shared = {
        split: row_numbers.contained(keys.get(split, none), keys["train"]) for split in ("validation", "test")
    }
    return [
        f"{split}: {counted(count, 'prompt is', 'prompts are')} also in train, so its figures flatter the model; remove them"
        for split, count in shared.items()
        if count
    ]


def _split(rows: Sequence[T], validation: float, test: float, path: Path) -> dict[str, Sequence[T]]:
    if not 0 <= validation < 1 or not 0 <= test < 1 or validation + test >= 1:
        raise CounterpointError(
            f"validation={validation} and test={test} must be shares that leave some for training"
        )
    if isinstance(rows, StoredRows):
        keys = np.asarray(rows.facts["key"])
    else:
        keys = np.fromiter((hashed(row.key()) for row in rows), np.uint64, len(rows))
    goes_to = np.empty(len(keys), np.int8)
    for start, part in row_numbers.parts(keys):
        position = (part >> np.uint64(16)).astype(np.float64) / 2**48
        goes_to[start : start + len(part)] = np.where(position < test, 2, position < test + validation)
    parts = {
        split: picked(rows, row_numbers.positions(goes_to == number))
        for number, split in enumerate(("train", "validation", "test"))
    }
    if not parts["train"]:
        raise CounterpointError(
            f"{path} has {len(rows)} rows of {len(np.unique(keys))} prompts, too few to split; give separate train and test "
            "files, or train on all of them: --data-option validation=0 --data-option test=0"
        )
    return parts
