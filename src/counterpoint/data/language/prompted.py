"""What problems and preferences share: rows that belong to a prompt, read from files and split by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, overload

from counterpoint.conversation import Prompt, stored
from counterpoint.data import tables
from counterpoint.errors import CounterpointError


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


def _from(origin: str, row: T) -> T:
    return replace(row, origin=origin)  # type: ignore[type-var]


def origin_of(rows: Sequence[Prompted], index: int) -> str:
    """A row's file and number there, or its number among the rows where it is of no file; for messages."""
    return getattr(rows[index], "origin", "") or f"row {index + 1}"


class PromptedRows(Generic[T]):
    """One split: rows by index, by slice, or by an index tensor (then a list)."""

    def __init__(self, rows: Iterable[T]) -> None:
        self.rows = list(rows)

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
            return self.rows[where]
        return [self.rows[int(number)] for number in where]


def read(
    path: Path,
    parse: Callable[[dict[str, Any], Path, int], T],
    validation: float,
    test: float,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> tuple[dict[str, list[T]], list[str]]:
    """Read the splits of a file or folder, ``parse(row, its file, its number there)`` each row, and cut what is missing from train.

    ``delimiter`` and ``encoding`` are of the files, as in ``data.tables.read_table``.

    Returns:
        Rows by split, and what was done, for the person.

    Raises:
        CounterpointError: nothing there, no train split, too few rows, shares that leave nothing for training.
    """
    parts: dict[str, list[T]] = {}
    notes: list[str] = []
    for name, split_tables in tables.read_splits(path, delimiter, encoding).items():
        parts[name] = [
            _from(table.where(index), parse(row, table.path, table.number(index)))
            for table in split_tables
            for index, row in enumerate(table.rows())
        ]
        notes += [note for table in split_tables for note in (*table.notes, *table.gap_notes())]
    if "all" in parts:
        notes.append(
            f"one file: {validation:.0%} went to validation and {test:.0%} to test, by a hash of the prompt"
        )
        return _split(parts["all"], validation, test, path), notes
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


def short_ones(
    rows: list[T], size: Callable[[T], int], limit: int | None, split: str, notes: list[str]
) -> list[T]:
    """Rows of at most ``limit`` characters; how many were left out goes into the notes."""
    short = rows if limit is None else [row for row in rows if size(row) <= limit]
    if len(short) < len(rows):
        notes.append(f"{split}: left out {len(rows) - len(short)} rows longer than {limit} characters")
    return short


def overlaps(parts: Mapping[str, Sequence[T]]) -> list[str]:
    """A note for each evaluation split with prompts that are also in train."""
    seen = {row.key() for row in parts["train"]}
    shared = {
        split: sum(row.key() in seen for row in parts.get(split, [])) for split in ("validation", "test")
    }
    return [
        f"{split}: {count} prompts are also in train, so its figures flatter the model; remove them"
        for split, count in shared.items()
        if count
    ]


def _split(rows: list[T], validation: float, test: float, path: Path) -> dict[str, list[T]]:
    if not 0 <= validation < 1 or not 0 <= test < 1 or validation + test >= 1:
        raise CounterpointError(
            f"validation={validation} and test={test} must be shares that leave some for training"
        )
    parts: dict[str, list[T]] = {"train": [], "validation": [], "test": []}
    for row in rows:
        position = int(hashlib.sha256(row.key().encode()).hexdigest()[:12], 16) / 16**12
        parts[
            "test" if position < test else "validation" if position < test + validation else "train"
        ].append(row)
    if not parts["train"]:
        raise CounterpointError(
            f"{path} has {len(rows)} rows of {len({row.key() for row in rows})} prompts, too few to split; give separate train and test "
            "files, or train on all of them: --data-option validation=0 --data-option test=0"
        )
    return parts
