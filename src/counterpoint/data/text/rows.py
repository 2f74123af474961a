"""Reads texts and their labels out of tables and folders: one row per text, nothing split or encoded yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data import tables
from counterpoint.data.tables import cells
from counterpoint.data.tables.columns import several_columns
from counterpoint.data.tables.encodings import read_text
from counterpoint.data.text import stored_texts
from counterpoint.data.text.cells import Labels, as_text, labels_of
from counterpoint.data.text.split import numbered
from counterpoint.data.text.stored_texts import StoredTexts
from counterpoint.data.walk import shown, walk
from counterpoint.errors import CounterpointError, counted, data_option, nearest

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
    """Many texts, a column each of what ``Row`` says of one.

    Attributes:
        texts: [N] in memory or on disk. labels: [N]. splits: [N] numbers into ``split_names``, which may hold None.
    """

    texts: Sequence[str]
    labels: Labels
    splits: np.ndarray
    split_names: Sequence[str | None]

    @classmethod
    def of(cls, rows: Sequence[Row] | Columns) -> Columns:
        """Rows as columns."""
        if isinstance(rows, Columns):
            return rows
        codes, names = numbered([row.split for row in rows])
        return cls([row.text for row in rows], Labels.of([row.labels for row in rows]), codes, names)

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: np.ndarray) -> Columns:
        """Only these rows."""
        return Columns(
            selected(self.texts, rows), self.labels.select(rows), self.splits[rows], self.split_names
        )


def selected(texts: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """The texts with these numbers, where the others are."""
    if isinstance(texts, StoredTexts):
        return texts.select(rows)
    return tuple(texts[number] for number in rows.tolist())


@dataclass(frozen=True)
class TextRows:
    """Rows, and what to tell about the reading."""

    rows: Columns
    notes: list[str]


def read(
    path: Path,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    empty: str = "error",
    delimiter: str | None = None,
    encoding: str | None = None,
    held: tables.Rows = "memory",
    most: int | None = None,
) -> TextRows:
    """Read a table, a folder with one per split, or a folder ``label/*.txt`` (also ``split/label/*.txt``).

    Args:
        text, label: the columns, when they have none of the usual names; ``label="none"`` reads texts alone.
        separator: what stands between the labels of one cell, such as ";"; None: a cell is one label, a list several.
        empty: "error", or "skip" to leave out rows without text.
        delimiter, encoding: of the files, as in ``data.tables.read_table``.
        held: where texts are; on disk, ``most`` words of each are meant.

    Raises:
        CounterpointError: with the row, what it holds and what was expected.
    """
    if empty not in ("error", "skip"):
        raise CounterpointError(f"empty='{empty}'; {nearest(empty, ['error', 'skip'])}")
    if path.is_dir() and (listed := walk(path)).of([".txt"]) and not listed.of(tables.SUFFIXES):
        rows, notes, where = _folder(path, encoding)
    else:
        rows, notes, where = _tables(path, text, label, separator, delimiter, encoding, held, most)
    if isinstance(rows.texts, StoredTexts):
        bare = np.flatnonzero(rows.texts.fact("size") == 0)
    else:
        bare = np.flatnonzero(np.fromiter((not content for content in rows.texts), bool, len(rows)))
    if len(bare):
        if empty != "skip":
            raise CounterpointError(
                f"{path}: {counted(len(bare), 'row has', 'rows have')} no text, the first is {where(int(bare[0]))}; fill or remove them, or leave them out with "
                "--data-option empty=skip"
            )
        notes.append(f"{counted(len(bare), 'row')} without text left out")
        rows = rows.select(np.delete(np.arange(len(rows)), bare))
    return TextRows(rows, notes)


def _folder(path: Path, encoding: str | None) -> tuple[Columns, list[str], Callable[[int], str]]:
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
    return Columns.of(rows), notes, lambda number: rows[number].where


def _tables(
    path: Path,
    text: str | None,
    label: str | None,
    separator: str | None,
    delimiter: str | None,
    encoding: str | None,
    held: tables.Rows,
    most: int | None,
) -> tuple[Columns, list[str], Callable[[int], str]]:
    splits = tables.read_splits(path, delimiter, encoding, held)
    every = [table for part in splits.values() for table in part]
    columns = list(dict.fromkeys(name for table in every for name in table.names))
    notes: list[str] = []
    text_column = _column(path, columns, text, TEXT_COLUMNS, "text", notes)
    assert text_column is not None
    label_column = None if label == "none" else _column(path, columns, label, LABEL_COLUMNS, "label", notes)
    names = [None if split == "all" else split for split in splits]
    sizes = [sum(map(len, part)) for part in splits.values()]
    codes = np.repeat(np.arange(len(names), dtype=np.int8), sizes)
    numbers: list[tuple[int, tables.Table]] = []  # where each file's rows begin, and what numbers them
    if all(isinstance(table.data, tables.RowsOnDisk) for table in every):
        texts: Sequence[str]
        texts, labels = stored_texts.read(every, text_column, label_column, separator, most)
        for start, table in zip(np.cumsum([0, *map(len, every)]).tolist(), every):
            numbers.append((start, table))
            notes.extend(table.notes)
    else:
        read: list[str] = []
        parts: list[tuple[str, ...]] = []
        several = separator is not None
        del every
        for split in list(splits):
            part = splits.pop(split)  # the files' columns are dropped one after the other
            for table in part:
                numbers.append((len(read), replace(table, data=[], _columns={})))
                read.extend(_texts(table, text_column, notes))
                here, listed = _label_cells(table, label_column, separator, notes)
                parts.extend(here)
                several |= listed
                notes.extend(table.notes)
        texts, labels = read, Labels.of(parts, several)
    if not label_column:
        notes.append("no column of labels: texts are read without")

    def where(index: int) -> str:
        start, table = next((start, table) for start, table in reversed(numbers) if start <= index)
        several_files = len({table.path for _, table in numbers}) > 1
        return (f"{table.path.name}, " if several_files else "") + f"row {table.number(index - start)}"

    return Columns(texts, labels, codes, names), notes, where


def _texts(table: tables.Table, column: str, notes: list[str]) -> list[str]:
    """The stripped texts of a column, empty where there is none."""
    if column not in table.names:
        return [""] * len(table)
    values = table.values(column)
    clean = [as_text(value, table, number, column) for number, value in enumerate(values)]
    missing = table.gaps(column) if table.delimited else None
    if missing is not None and missing.any():
        note = table.gap_note(column, missing, "they are read as empty texts")
        notes.extend([note] if note else [])
        return ["" if gap else text for gap, text in zip(missing.tolist(), clean, strict=True)]
    return clean


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
        parsed = [labels_of(value, separator, n, table.where) for n, value in enumerate(table.values(column))]
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
    of = [
        labels_of(value, separator, first.get(code, 0), table.where)[0] for code, value in enumerate(values)
    ]
    of.append(())
    return [of[code] for code in codes.tolist()], False


def _column(
    path: Path, columns: Sequence[str], wanted: str | None, usual: Sequence[str], what: str, notes: list[str]
) -> str | None:
    if wanted is not None:
        if wanted not in columns:
            raise CounterpointError(f"{path} has no column '{wanted}'; {nearest(wanted, columns)}")
        return wanted
    matching = [name for name in usual if name in columns]
    notes.extend(several_columns(matching, what))
    if matching or what == "label":
        return matching[0] if matching else None
    raise CounterpointError(
        f"{path} has columns {', '.join(columns[:12])} and none is called {', '.join(usual)}; name the column of {what}s: "
        f"{data_option(what, columns[0] if columns else 'COLUMN')}"
    )
