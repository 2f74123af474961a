"""Reads texts and their labels out of tables and folders: one row per text, nothing split or encoded yet."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data import tables
from counterpoint.data.tables import cells
from counterpoint.data.tables.encodings import read_text
from counterpoint.data.walk import shown, walk
from counterpoint.errors import CounterpointError, data_option, nearest

TEXT_COLUMNS = ("text", "sentence", "content", "document", "body")
LABEL_COLUMNS = ("label", "labels", "class", "category", "topic")


@dataclass(frozen=True)
class Row:
    """One text: its labels (none: it has no label), the split its file names or None, and where it stands."""

    text: str
    labels: tuple[str, ...]
    split: str | None
    where: str


@dataclass(frozen=True)
class Columns:
    """Many texts, a list a column: what ``Row`` says of one."""

    texts: list[str]
    labels: list[tuple[str, ...]]
    splits: list[str | None]

    @classmethod
    def of(cls, rows: Sequence[Row] | Columns) -> Columns:
        """Rows as columns."""
        if isinstance(rows, Columns):
            return rows
        return cls([row.text for row in rows], [row.labels for row in rows], [row.split for row in rows])

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int]) -> Columns:
        """Only these rows."""
        return Columns(
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.splits[row] for row in rows],
        )


@dataclass(frozen=True)
class TextRows:
    """Rows, whether labels came as lists (several a text), and what to tell about the reading."""

    rows: Columns
    several: bool
    notes: list[str]


def read(
    path: Path,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    empty: str = "error",
    delimiter: str | None = None,
    encoding: str | None = None,
) -> TextRows:
    """Read a table, a folder with one per split, or a folder ``label/*.txt`` (also ``split/label/*.txt``).

    Args:
        text, label: the columns, when they have none of the usual names; ``label="none"`` reads texts alone.
        separator: what stands between the labels of one cell, such as ";"; None: a cell is one label, a list several.
        empty: "error", or "skip" to leave out rows without text.
        delimiter, encoding: of the files, as in ``data.tables.read_table``.

    Raises:
        CounterpointError: with the row, what it holds and what was expected.
    """
    if empty not in ("error", "skip"):
        raise CounterpointError(f"empty='{empty}'; {nearest(empty, ['error', 'skip'])}")
    if path.is_dir() and (listed := walk(path)).of([".txt"]) and not listed.of(tables.SUFFIXES):
        rows, several, notes, where = _folder(path, encoding)
    else:
        rows, several, notes, where = _tables(path, text, label, separator, delimiter, encoding)
    bare = [number for number, content in enumerate(rows.texts) if not content]
    if bare:
        if empty != "skip":
            raise CounterpointError(
                f"{path}: {len(bare)} rows have no text, the first is {where(bare[0])}; fill or remove them, or leave them out with "
                "--data-option empty=skip"
            )
        notes.append(f"{len(bare)} rows without text left out")
        rows = rows.select([number for number, content in enumerate(rows.texts) if content])
    return TextRows(rows, several, notes)


def _folder(path: Path, encoding: str | None) -> tuple[Columns, bool, list[str], Callable[[int], str]]:
    rows: list[Row] = []
    notes: list[str] = []
    for file in walk(path).of([".txt"]):
        parts = file.name.parts[:-1]
        split = tables.split_of(parts[0]) if parts else None
        inner = parts[1:] if split else parts
        if len(inner) > 1:
            raise CounterpointError(
                f"{path / file.name} lies {len(parts)} folders deep; expected LABEL/*.txt, or SPLIT/LABEL/*.txt with train, validation, test"
            )
        content = read_text(file.path, encoding)
        if content.note and len(notes) < 3:
            notes.append(f"{shown(file.name)}: {content.note}")
        # Line ends as Python's own text files have them.
        clean = b"".join(content.blocks()).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").strip()
        rows.append(Row(clean, inner, split, shown(file.name)))
    return Columns.of(rows), False, notes, lambda number: rows[number].where


def _tables(
    path: Path,
    text: str | None,
    label: str | None,
    separator: str | None,
    delimiter: str | None,
    encoding: str | None,
) -> tuple[Columns, bool, list[str], Callable[[int], str]]:
    splits = tables.read_splits(path, delimiter, encoding)
    columns = list(dict.fromkeys(name for part in splits.values() for table in part for name in table.names))
    text_column = _column(path, columns, text, TEXT_COLUMNS, "text")
    assert text_column is not None
    label_column = None if label == "none" else _column(path, columns, label, LABEL_COLUMNS, "label")
    rows, several = Columns([], [], []), separator is not None
    notes: list[str] = []
    numbers: list[tuple[int, tables.Table]] = []  # where each file's rows begin, and what numbers them
    for split in list(splits):
        part = splits.pop(split)  # the files' columns are dropped one after the other
        for table in part:
            numbers.append((len(rows), replace(table, data=[], _columns={})))
            rows.texts.extend(_texts(table, text_column, notes))
            labels, listed = _label_cells(table, label_column, separator, notes)
            rows.labels.extend(labels)
            several |= listed
            rows.splits.extend([None if split == "all" else split] * len(table))
            notes.extend(table.notes)
    if not label_column:
        notes.append("no column of labels: texts are read without")

    def where(index: int) -> str:
        start, table = next((start, table) for start, table in reversed(numbers) if start <= index)
        several_files = len({table.path for _, table in numbers}) > 1
        return (f"{table.path.name}, " if several_files else "") + f"row {table.number(index - start)}"

    return rows, several, notes, where


def _texts(table: tables.Table, column: str, notes: list[str]) -> list[str]:
    """The stripped texts of a column, empty where there is none."""
    if column not in table.names:
        return [""] * len(table)
    values = table.values(column)
    odd = next(
        (n for n, value in enumerate(values) if value is not None and not isinstance(value, str)), None
    )
    if odd is not None:
        raise CounterpointError(
            f"{table.where(odd)}: the text in column '{column}' is {reprlib.repr(values[odd])} ({type(values[odd]).__name__}); expected text in "
            "quotation marks: is this the right column? Name it with --data-option text=COLUMN"
        )
    missing = table.gaps(column) if table.delimited else None
    if missing is not None and missing.any():
        note = table.gap_note(column, missing, "they are read as empty texts")
        notes.extend([note] if note else [])
        return ["" if gap else value.strip() for gap, value in zip(missing.tolist(), values, strict=True)]
    return [(value or "").strip() for value in values]


def _label_cells(
    table: tables.Table,
    column: str | None,
    separator: str | None,
    notes: list[str],
) -> tuple[list[tuple[str, ...]], bool]:
    """Each row's labels, and whether they came as lists."""
    if column is None or column not in table.names:
        return [()] * len(table), False
    if not isinstance(table.data, pa.Table) or pa.types.is_nested(table.data.column(column).type):
        parsed = [_labels(value, separator, n, table.where) for n, value in enumerate(table.values(column))]
        return [labels for labels, _ in parsed], any(listed for _, listed in parsed)
    cells_ = table.data.column(column)
    if table.delimited:
        cells_, dotted = cells.whole(cells_)
        if dotted:
            notes.append(f"column '{column}': whole numbers written like 3.0 are read as 3")
        missing = cells.gaps(cells_, cells.class_gaps(cells_))
        note = table.gap_note(column, missing, "these texts have no label")
        notes.extend([note] if note else [])
        cells_ = pc.if_else(pa.array(missing), pa.scalar(None, cells_.type), cells_)
    codes, values = cells.coded(cells_)
    first = {int(code): int(n) for code, n in zip(*np.unique(codes, return_index=True), strict=True)}
    of = [_labels(value, separator, first.get(code, 0), table.where)[0] for code, value in enumerate(values)]
    of.append(())
    return [of[code] for code in codes.tolist()], False


def _column(
    path: Path, columns: Sequence[str], wanted: str | None, usual: Sequence[str], what: str
) -> str | None:
    if wanted is not None:
        if wanted not in columns:
            raise CounterpointError(f"{path} has no column '{wanted}'; {nearest(wanted, columns)}")
        return wanted
    matching = [name for name in usual if name in columns]
    if matching or what == "label":
        return matching[0] if matching else None
    raise CounterpointError(
        f"{path} has columns {', '.join(columns[:12])} and none is called {', '.join(usual)}; name the {what}s': "
        f"{data_option(what, columns[0] if columns else 'COLUMN')}"
    )


def _labels(
    given: Any, separator: str | None, number: int, where: Callable[[int], str]
) -> tuple[tuple[str, ...], bool]:
    """A cell's labels, and whether they came as a list."""
    if isinstance(given, list | tuple):
        return tuple(dict.fromkeys(_name(one, number, where) for one in given)), True
    if given is None or given == "" or given != given:
        return (), False
    if separator and isinstance(given, str):
        parts = [part.strip() for part in given.split(separator)]
        return tuple(dict.fromkeys(part for part in parts if part)), False
    name = _name(given, number, where)
    return ((name,) if name else ()), False


def _name(given: Any, number: int, where: Callable[[int], str]) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    if isinstance(given, str | int):
        return str(given).strip()
    raise CounterpointError(
        f"{where(number)}: the label is {reprlib.repr(given)} ({type(given).__name__}); expected a name, a whole number, or a list of names"
    )
