"""One table: named columns, read from a file, whatever its format was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data.tables import cells
from counterpoint.data.tables.on_disk import RowsOnDisk
from counterpoint.errors import CounterpointError

Row = dict[str, Any]
BATCH = 8192


@dataclass(frozen=True)
class Table:
    """Columns of one file or split.

    Attributes:
        path: of the file or folder, for messages.
        data: the columns; of JSON, the rows as they were read, since their cells may be of any type; or rows that stay on disk.
        notes: what was understood: separator, encoding, columns that were dropped.
        index: columns that pandas stored as a named index.
        delimited: cells were read from CSV or TSV, where words stand for missing values.
        separator: of the cells, where they are delimited.
        numbers: [N] of the rows in their file, from 1 after the line of column names; None where they are 1 to N.
    """

    path: Path
    data: pa.Table | Sequence[Row]
    notes: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    delimited: bool = False
    separator: str = ""
    numbers: np.ndarray | None = None
    _columns: dict[str, pa.ChunkedArray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return self.data.num_rows if isinstance(self.data, pa.Table) else len(self.data)

    @cached_property
    def names(self) -> list[str]:
        """Names of the columns, in order of their first appearance."""
        if isinstance(self.data, pa.Table):
            return list(self.data.column_names)
        if isinstance(self.data, RowsOnDisk):
            return self.data.names
        return list(dict.fromkeys(name for row in self.data for name in row))

    def number(self, index: int) -> int:
        """The number of a row in its file: JSON lines by line, others from 1 after the column names."""
        if isinstance(self.data, RowsOnDisk):
            return self.data.number(index)
        return index + 1 if self.numbers is None else int(self.numbers[index])

    def where(self, index: int) -> str:
        """A row's file and number, for messages."""
        return f"{self.path}, row {self.number(index)}"

    def select(self, chosen: np.ndarray, without: str) -> Table:
        """The rows that ``chosen`` [N] bool marks, under their own numbers, and all columns but one; without notes."""
        if isinstance(self.data, RowsOnDisk):
            part = self.data.select(np.flatnonzero(chosen), without)
            return replace(self, data=part, notes=(), _columns={})
        numbers = np.arange(1, len(self) + 1) if self.numbers is None else self.numbers
        if not isinstance(self.data, pa.Table):
            data: pa.Table | Sequence[Row] = [
                {name: value for name, value in row.items() if name != without}
                for row, wanted in zip(self.data, chosen.tolist(), strict=True)
                if wanted
            ]
        else:
            data = self.data.filter(pa.array(chosen)).drop_columns([without])
        return replace(self, data=data, notes=(), numbers=numbers[chosen], _columns={})

    def rows(self) -> Iterator[Row]:
        """One dict a row, a few thousand in memory at a time; null is None, and so is a word for it in a delimited file."""
        if not isinstance(self.data, pa.Table):
            yield from self.data
            return
        for batch in self.data.to_batches(max_chunksize=BATCH):
            try:
                records = (_without_gaps(batch) if self.delimited else batch).to_pylist()
            except (pa.ArrowException, ValueError, OverflowError) as error:
                raise CounterpointError(f"{self.path}: a cell cannot be read ({str(error)[:120]})") from None
            yield from records

    def values(self, name: str) -> list[Any]:
        """A column as Python values, None where there is none.

        Raises:
            CounterpointError: a value that Python has no type for, such as a date before the year 1.
        """
        if isinstance(self.data, RowsOnDisk):
            words: dict[
                str, str
            ] = {}  # equal cells are one object: columns that are read whole have few different ones
            column = self.data.column(name) if name in self.data.names else None
            cells_ = (
                (row.get(name) for row in self.data)
                if column is None
                else (cell for part in column.chunks for cell in part.to_pylist())
            )
            return [words.setdefault(cell, cell) if isinstance(cell, str) else cell for cell in cells_]
        if not isinstance(self.data, pa.Table):
            return [row.get(name) for row in self.data]
        try:
            return self.data.column(name).to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise CounterpointError(
                f"{self.path}: column '{name}' cannot be read ({str(error)[:120]})"
            ) from None

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as an Arrow array; JSON cells of several types become text."""
        if isinstance(self.data, pa.Table):
            return self.data.column(name)
        if isinstance(self.data, RowsOnDisk) and (mapped := self.data.column(name)) is not None:
            return mapped
        if name not in self._columns:
            self._columns[name] = _column(self.values(name))
        return self._columns[name]

    def gaps(self, name: str, words: tuple[str, ...] = cells.GAPS) -> np.ndarray:
        """[N] bool: empty and null cells, and words for them in a delimited file, where text is all there is."""
        column = self.column(name)
        return cells.gaps(column, words if self.delimited else ("",))

    def gap_notes(self) -> list[str]:
        """A line for each column of a delimited file with words that ``rows`` gives as None."""
        if not self.delimited:
            return []
        what = "read as missing (in JSON lines, text in quotation marks is always text)"
        notes = [self.gap_note(name, self.gaps(name), what) for name in self.names]
        return [note for note in notes if note]

    def gap_note(self, name: str, missing: np.ndarray, what: str) -> str:
        """A line on a column's gaps that are words, since they were written as something; empty where none is."""
        column = self.column(name)
        if not missing.any() or not cells.is_text(column):
            return ""
        texts = [
            str(text).strip()
            for text in pc.unique(column.filter(pa.array(missing))).to_pylist()
            if text is not None
        ]
        words = sorted({text for text in texts if text})
        if not words:
            return ""
        return f"column '{name}': {int(missing.sum())} gaps, some written {cells.named(words)}: {what}"


def _without_gaps(batch: pa.RecordBatch) -> pa.RecordBatch:
    words = pa.array(cells.GAPS[1:], pa.string())
    columns = []
    for column in batch.columns:
        missing = pc.is_in(pc.utf8_trim_whitespace(column), value_set=words)
        columns.append(
            pc.if_else(missing, pa.scalar(None, pa.string()), column) if pc.any(missing).as_py() else column
        )
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _column(values: list[Any]) -> pa.ChunkedArray:
    try:
        return pa.chunked_array([pa.array(values)])
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.chunked_array([pa.array([_text(value) for value in values], pa.string())])


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)
