"""A table a part at a time, in bounded memory: for files that are gone through once, such as those to predict for.

CSV, TSV and JSON lines are passed over once before (every byte is text, every row fits its columns), so that nothing wrong comes
to light half-way. A .json file, one list, is read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from counterpoint.data.tables import stored
from counterpoint.data.tables.delimited import (
    RAGGED,
    RaggedRow,
    check_quotes,
    head_of,
    separator_of,
    width_of,
)
from counterpoint.data.tables.encodings import Text, read_text
from counterpoint.data.tables.json_rows import json_lines
from counterpoint.data.tables.read import CANDIDATES, SUFFIXES, read_table
from counterpoint.data.tables.table import Table
from counterpoint.errors import CounterpointError

PART = 1024
"""Rows of a part, at most."""


@dataclass(frozen=True)
class Streamed:
    """A file's rows: how many, and their parts, each time from the beginning."""

    path: Path
    total: int
    parts: Callable[[], Iterator[Table]]


def stream_table(
    path: Path, *, size: int = PART, delimiter: str | None = None, encoding: str | None = None
) -> Streamed:
    """Open a table by its ending.

    Args:
        path: JSON lines, JSON, CSV, TSV or Parquet.
        size: rows of a part, at most. delimiter, encoding: as of ``read_table``.

    Raises:
        CounterpointError: as of ``read_table``.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CounterpointError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        total, _ = stored.parquet_batches(path, size)
        return _with_rows(Streamed(path, total, lambda: _parquet(path, size)))
    if suffix == ".json":
        return stream_whole(read_table(path, encoding=encoding), size)
    text = read_text(path, encoding)
    if suffix == ".jsonl":
        total = sum(1 for _ in json_lines(text))
        return _with_rows(Streamed(path, total, lambda: _json_lines(text, size)))
    layout = layout_of(text, CANDIDATES[suffix], delimiter)
    return _with_rows(Streamed(path, layout.rows, lambda: _delimited(text, layout, size)))


def stream_whole(table: Table, size: int = PART) -> Streamed:
    """The parts of a table that is in memory."""

    def parts() -> Iterator[Table]:
        for start in range(0, len(table), size):
            stop = min(start + size, len(table))
            rows = (
                table.data.slice(start, size) if isinstance(table.data, pa.Table) else table.data[start:stop]
            )
            numbers = np.array([table.number(at) for at in range(start, stop)])
            yield Table(
                table.path, rows, delimited=table.delimited, separator=table.separator, numbers=numbers
            )

    return _with_rows(Streamed(table.path, len(table), parts))


def _with_rows(streamed: Streamed) -> Streamed:
    if not streamed.total:
        raise CounterpointError(f"{streamed.path} holds no rows; expected one example per row")
    return streamed


def _parquet(path: Path, size: int) -> Iterator[Table]:
    start = 0
    for data in stored.parquet_batches(path, size)[1]:
        yield Table(path, data, numbers=np.arange(start + 1, start + 1 + len(data)))
        start += len(data)


def _json_lines(text: Text, size: int) -> Iterator[Table]:
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    for number, row in json_lines(text):
        numbers.append(number)
        rows.append(row)
        if len(rows) == size:
            yield Table(text.path, rows, numbers=np.array(numbers))
            numbers, rows = [], []
    if rows:
        yield Table(text.path, rows, numbers=np.array(numbers))


@dataclass(frozen=True)
class Layout:
    """How a delimited file is read: between its cells, whether double quotes enclose them, Arrow's block, rows after the names."""

    mark: str
    quoted: bool
    block: int
    rows: int = 0


def layout_of(text: Text, candidates: tuple[str, ...], given: str | None) -> Layout:
    """By the first separator with which every row has as many cells."""
    head = head_of(text)
    likely = [separator_of(given)] if given else [mark for mark in candidates if mark in head]
    first: CounterpointError | None = None
    for mark in likely or [candidates[0]]:
        try:
            quoted = any(b'"' in part for part in text.blocks())
            try:
                if quoted:
                    check_quotes(text, mark)
            except CounterpointError:
                if mark != "\t":
                    raise
                quoted = False  # a tab-separated file may write quotes as they are
            return _counted(text, Layout(mark, quoted, 2**20))
        except pa.ArrowInvalid as error:
            first = first or _unfit(text, mark, error)
        except CounterpointError as error:
            first = first or error
    assert first is not None
    raise first


def _counted(text: Text, layout: Layout) -> Layout:
    while True:
        try:
            return replace(layout, rows=sum(len(batch) for batch in batches_of(text, layout)) - 1)
        except pa.ArrowInvalid as error:  # a row longer than Arrow's block
            if "straddling" not in str(error) or layout.block > text.size:
                raise
            layout = replace(layout, block=layout.block * 16)


def _unfit(text: Text, mark: str, error: pa.ArrowInvalid) -> CounterpointError:
    wrong = RAGGED.search(str(error))
    if wrong is None:
        return CounterpointError(
            f"{text.path}: no table of cells ({str(error).splitlines()[0][:120]}); expected CSV or TSV text"
        )
    line, expected, actual, content = wrong.groups()
    return RaggedRow(text.path, int(line or 0), int(actual), int(expected), content, mark)


def batches_of(text: Text, layout: Layout) -> Iterator[pa.RecordBatch]:
    """The cells as text, columns f0, f1, ..., about a block at a time; the first row is the file's first, names or not."""
    mark, quoted = layout.mark, layout.quoted
    names = [f"f{number}" for number in range(width_of(text, mark, quoted, mark))]
    with text.open() as file:
        yield from pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=min(layout.block, 2**31 - 1)
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=mark, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )


def _delimited(text: Text, layout: Layout, size: int) -> Iterator[Table]:
    names: list[str] | None = None
    start = 0
    for batch in batches_of(text, layout):
        cells = pa.Table.from_batches([batch])
        if names is None:
            if not cells.num_rows:
                continue
            names = _names(cells, text.path)
            cells = cells.slice(1)
        cells = cells.rename_columns(names)
        for at in range(0, len(cells), size):
            part = cells.slice(at, size)
            numbers = np.arange(start + at + 1, start + at + 1 + len(part))
            yield Table(text.path, part, delimited=True, separator=layout.mark, numbers=numbers)
        start += len(cells)


def _names(cells: pa.Table, path: Path) -> list[str]:
    """Names of the columns by the first row; a nameless one is called by its number, as ``read_table`` calls it."""
    names = [
        (column[0].as_py() or "").strip() or f"column {at}" for at, column in enumerate(cells.columns, 1)
    ]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CounterpointError(f"{path}: the first line names the column '{twice}' twice; rename one")
    return names
