"""Opens a table by its ending, and the tables of a folder by the splits that their names say. Knows no kind of data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data.tables import cells, stored
from counterpoint.data.tables.delimited import SEPARATORS, read_delimited, separator_of
from counterpoint.data.tables.encodings import Text, read_text
from counterpoint.data.tables.json_rows import read_json, read_json_lines
from counterpoint.data.tables.on_disk import can_stay, rows_on_disk, saved_rows, size_in_memory
from counterpoint.data.tables.table import Row, Table
from counterpoint.data.walk import walk
from counterpoint.errors import CounterpointError, nearest

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of splits, as people write them, and the split that is meant."""
Rows = Literal["auto", "memory", "disk"]
"""Where rows are held: all in memory, or on disk, each read when it is needed."""
LARGE = 2**29
"""Bytes of columns from which on "auto" leaves rows on disk: as Python objects they would take up several times as many."""
COLUMN = "split"
"""Names the split of each row, in any kind's tables."""
CANDIDATES = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t", ",", ";", "|")}
"""Separators by ending, the usual one first."""
INDEX_NAMES = re.compile(r"Unnamed: \d+|index|level_0|idx|row_?(id|nr|num|number|names?)?", re.IGNORECASE)


def split_of(name: object) -> str | None:
    """The split that a name says, without regard to case and blanks; None where it says none.

    >>> split_of(" Train "), split_of("VAL"), split_of("notes")
    ('train', 'validation', None)
    """
    return SPLITS.get(str(name).strip().lower())


def read_table(
    path: Path, delimiter: str | None = None, encoding: str | None = None, on_disk: bool = False
) -> Table:
    """Read one file: JSON lines, JSON, CSV, TSV or Parquet.

    Args:
        path: its ending says what it is.
        delimiter: between the cells of CSV or TSV; None: the one that fits every row.
        encoding: of text files; None: UTF-8, or what a byte-order mark says.
        on_disk: leave the rows there, where the format allows it (``tables.on_disk``).

    Raises:
        CounterpointError: an unknown ending, a damaged file (with the row), no rows.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CounterpointError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(SUFFIXES)}")
    left = rows_on_disk(path, encoding) if on_disk and can_stay(path) else None
    if left is not None:
        table = Table(path, left)
    elif suffix == ".parquet":
        data, index = stored.read_parquet(path)
        table = Table(path, data, index=index)
    else:
        text = read_text(path, encoding)
        notes = (f"{path.name}: {text.note}",) if text.note else ()
        if suffix in CANDIDATES:
            table = _delimited(text, suffix, delimiter, notes)
        else:
            rows = read_json(text) if suffix == ".json" else read_json_lines(text)
            table = Table(path, [_without_row_numbers(row) for row in rows.rows], notes, numbers=rows.lines)
    if not len(table):
        raise CounterpointError(f"{path} holds no rows; expected one example per row")
    return table


def row_at(tables: Sequence[Table], index: int) -> str:
    """The file and the number of a row, by its position over all of several tables, for messages."""
    for table in tables:
        if index < len(table):
            return table.where(index)
        index -= len(table)
    raise IndexError(index)


def row_name(tables: Sequence[Table], index: int) -> str:
    """As ``row_at``, with the file only where there are several."""
    shown = row_at(tables, index)
    return shown if len({table.path for table in tables}) > 1 else shown.rpartition(", ")[2]


def read_file(path: Path) -> list[Row]:
    """The rows of one file, as ``read_table`` reads it, a dict each."""
    return list(read_table(path).rows())


def read_splits(
    path: Path,
    delimiter: str | None = None,
    encoding: str | None = None,
    rows: Rows = "memory",
) -> dict[str, list[Table]]:
    """Read a file, a folder with files named after splits, or a folder saved by the datasets library.

    Args:
        path, delimiter, encoding: as of ``read_table``.
        rows: where they are held; "disk" and "auto" read JSON lines, Parquet and folders of `datasets` row by row.

    Returns:
        Tables by split: those that files are named after or a column ``split`` names; else, all under "all".

    Raises:
        CounterpointError: nothing there, nothing readable in it, or a column of splits with another word in it.
    """
    if path.is_file():
        return _by_column([read_table(path, delimiter, encoding, stay_on_disk([path], rows))])
    if not path.is_dir():
        raise CounterpointError(
            f"there is no data at {path}; give a {', '.join(SUFFIXES)} file, a folder with train and test files, "
            "or a folder saved by the datasets library"
        )
    if stored.is_saved(path):
        saved: dict[str, list[Table]] = {}
        stay = stay_on_disk(sorted(path.rglob("*.arrow")), rows)
        for name, table in (saved_rows(path) if stay else stored.read_saved(path)).items():
            saved.setdefault(split_of(name) or name or "all", []).append(Table(path / name, table))
        return _by_column(saved["all"]) if set(saved) == {"all"} else saved
    splits: dict[str, list[Table]] = {}
    files = walk(path).of(SUFFIXES)
    stay = stay_on_disk([file.path for file in files], rows)
    for file in files:
        stem = re.split(r"[.\-_( ]", file.name.name.strip())[0]
        splits.setdefault(split_of(stem) or "all", []).append(
            read_table(file.path, delimiter, encoding, stay)
        )
    if not splits:
        raise CounterpointError(f"{path} holds no {', '.join(SUFFIXES)} file")
    if "all" in splits and len(splits) > 1:
        raise CounterpointError(
            f"{path} holds files that name a split and files that do not; keep only files named "
            "train, validation and test (e.g. train.jsonl)"
        )
    return _by_column(splits["all"]) if "all" in splits else splits


def stay_on_disk(files: Sequence[Path], rows: Rows) -> bool:
    """Whether the rows of these files are read from disk one by one; "auto": where they would take up ``LARGE`` bytes or more."""
    return rows == "disk" or (rows == "auto" and sum(map(size_in_memory, files)) >= LARGE)


def splits_named(table: Table) -> tuple[str, list[str]] | None:
    """The column ``split`` of a table and what each row's cell says; None where there is none, or it speaks of something else.

    Raises:
        CounterpointError: a row whose cell names no split, where others name some.
    """
    name = next((name for name in table.names if name.strip().lower() == COLUMN), None)
    cells_ = table.values(name) if name is not None else []
    meant = [split_of(cell) if isinstance(cell, str) else None for cell in cells_]
    if name is None or not any(meant):
        words = {cell.strip().lower() for cell in cells_ if isinstance(cell, str)}
        near = next(
            (word for word in sorted(words)[:20] if difflib.get_close_matches(word, SPLITS, 1, 0.75)), None
        )
        if near is not None:
            raise CounterpointError(
                f"{table.path}: the column '{name}' holds '{near}'; {nearest(near, SPLITS)}"
            )
        return None
    if None in meant:
        row = meant.index(None)
        raise CounterpointError(
            f"{table.where(row)}: the column '{name}' holds {cells_[row]!r}; expected train, validation or test in every row, or "
            "rename the column"
        )
    return name, [split for split in meant if split]


def _by_column(tables: list[Table]) -> dict[str, list[Table]]:
    """Tables divided by a column ``split`` where one names the splits of its rows; else all of them, under "all"."""
    splits: dict[str, list[Table]] = {}
    for table in tables:
        named = splits_named(table)
        if named is None:
            splits.setdefault("all", []).append(table)
            continue
        for number, split in enumerate(dict.fromkeys(named[1])):
            part = table.select(np.array([each == split for each in named[1]]), without=named[0])
            splits.setdefault(split, []).append(replace(part, notes=() if number else table.notes))
    if "all" in splits and len(splits) > 1:
        raise CounterpointError(
            f"{splits['all'][0].path} has no column '{COLUMN}' that names splits, and another file has one; add it, or move the file away"
        )
    return splits


def _delimited(text: Text, suffix: str, delimiter: str | None, notes: Sequence[str]) -> Table:
    usual = CANDIDATES[suffix]
    text, hinted = _without_hint(text)
    delimiter = delimiter or hinted
    parsed = read_delimited(text, (separator_of(delimiter),) if delimiter else usual)
    notes = list(notes)
    if parsed.separator != usual[0]:
        notes.append(
            f"{text.path.name}: cells are separated by {SEPARATORS.get(parsed.separator, repr(parsed.separator))}"
        )
    if suffix == ".tsv" and not parsed.quoted and any(b'"' in block for block in text.blocks()):
        notes.append(
            f"{text.path.name}: double quotes are read as they stand, since they enclose no cells throughout"
        )
    table = with_header(parsed.cells, text.path, notes)
    return Table(text.path, table, tuple(notes), delimited=True, separator=parsed.separator)


def _without_hint(text: Text) -> tuple[Text, str | None]:
    """The text without a first line ``sep=;``, by which spreadsheets are told the separator, and that separator."""
    with text.open() as file:
        line = file.readline(16)
    hint = re.fullmatch(rb"sep=([^\r\n])\r?\n", line)
    if hint is None:
        return text, None
    return Text(text.path, b"".join(text.blocks())[len(line) :], note=text.note), hint[1].decode(
        "utf-8", "replace"
    )


def with_header(cells_: pa.Table, path: Path, notes: list[str]) -> pa.Table:
    """Columns named by the first row; a nameless index and nameless empty columns are dropped, which ``notes`` get.

    Raises:
        CounterpointError: a name that occurs twice; a row that says the names again.
    """
    names = [(column[0].as_py() or "").strip() for column in cells_.columns]
    data = cells_.slice(1)
    refuse_repeated_names(data, names, path)
    columns: dict[str, pa.ChunkedArray] = {}
    for index, name in enumerate(names):
        column = data.column(index)
        if not name or re.fullmatch(r"Unnamed: \d+", name):
            shown = f"'{name}'" if name else f"{index + 1}, which has no name,"
            if cells.gaps(column).all():
                notes.append(f"{path.name}: column {shown} is empty: left out")
                continue
            if is_row_numbers(column):
                notes.append(f"{path.name}: column {shown} only numbers the rows: left out")
                continue
            name = name or f"column {index + 1}"
            notes.append(f"{path.name}: column {index + 1} has no name: called '{name}'")
        if name in columns:
            raise CounterpointError(f"{path}: the first line names the column '{name}' twice; rename one")
        columns[name] = column
    return pa.table(columns) if columns else data.select([])


def refuse_repeated_names(data: pa.Table, names: list[str], path: Path) -> None:
    """A row that says the names again, as where files were joined, would be one more example."""
    if len(names) < 2:
        return
    again = np.ones(data.num_rows, bool)
    # Short columns first, and nothing is copied before few rows are left: a column of texts may fill the memory.
    columns = sorted(zip(data.columns, names, strict=True), key=lambda each: each[0].nbytes)
    for column, name in columns:
        again &= pc.fill_null(pc.match_substring(column, name), False).to_numpy()
        if not again.any():
            return
    rows = np.flatnonzero(again)
    for column, name in columns:
        cell = pc.utf8_trim_whitespace(column.take(pa.array(rows)))
        again[rows] &= pc.fill_null(pc.equal(cell, name), False).to_numpy()
    if not again.any():
        return
    raise CounterpointError(
        f"{path}, row {int(np.argmax(again)) + 1}: the line of column names stands here again, as where files were joined; remove it"
        + (f" ({int(again.sum())} rows are like this)" if again.sum() > 1 else "")
    )


def is_row_numbers(column: pa.ChunkedArray) -> bool:
    """Whether a column holds different whole numbers throughout, as an index does, in whatever order."""
    values, missing, wrong = cells.numbers(column)
    if missing.any() or wrong.any() or not len(values):
        return False
    return bool((values == values.round()).all()) and pc.count_distinct(pa.array(values)).as_py() == len(
        values
    )


def is_count(column: pa.ChunkedArray) -> bool:
    """Whether a column counts the rows: 0 to N - 1 or 1 to N, in whatever order."""
    if not is_row_numbers(column):
        return False
    values, _, _ = cells.numbers(column)
    return values.min() in (0, 1) and values.max() - values.min() == len(values) - 1


def _without_row_numbers(row: Row) -> Row:
    return (
        {name: value for name, value in row.items() if name and not stored.ROW_NUMBERS.fullmatch(name)}
        if ("" in row or "__index_level_0__" in row)
        else row
    )
