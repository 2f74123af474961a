"""Rows that stay on disk and are read by number: Arrow files memory-mapped, JSON lines by where each line begins.

Parquet is turned into an Arrow file in the cache once, a batch at a time; folders of the `datasets` library are Arrow files
already. Of JSON lines only the beginnings of the lines are written: a row is parsed from the file itself when it is read, by
the parser that reads whole files, so that its cells are the same.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from counterpoint.data import row_numbers
from counterpoint.data.tables import stored
from counterpoint.data.tables.converted import converted, digest_of
from counterpoint.data.tables.encodings import read_text
from counterpoint.data.tables.json_rows import Row, json_lines_at, json_row
from counterpoint.errors import CounterpointError

BATCH = 8192
"""Rows that are converted at a time."""


class RowsOnDisk(Sequence[Row]):
    """Rows of one file, by number.

    Attributes:
        path: of the file, for messages.
        names: of the columns, in order of their first appearance.
        digest: sha256 that stands for the file's content and which of its rows are meant.
    """

    def __init__(self, path: Path, names: Sequence[str], digest: str) -> None:
        self.path, self.names, self.digest = path, list(names), digest
        self._at: np.ndarray | None = None
        self._without: str | None = None

    def _row(self, number: int) -> Row:
        """The row of the file with this number, from 0."""
        raise NotImplementedError

    def _size(self) -> int:
        """Rows of the file."""
        raise NotImplementedError

    def _file_number(self, number: int) -> int:
        """A row's number in its file, for messages; from 1."""
        return number + 1

    def __len__(self) -> int:
        return self._size() if self._at is None else len(self._at)

    @overload
    def __getitem__(self, where: int) -> Row: ...
    @overload
    def __getitem__(self, where: slice) -> list[Row]: ...
    def __getitem__(self, where: int | slice) -> Row | list[Row]:
        if isinstance(where, slice):
            return [self[number] for number in range(*where.indices(len(self)))]
        if not -len(self) <= where < len(self):
            raise IndexError(where)
        row = self._row(self.position(where))
        return row if self._without is None else {k: v for k, v in row.items() if k != self._without}

    def __iter__(self) -> Iterator[Row]:
        return (self[number] for number in range(len(self)))

    def column(self, name: str) -> pa.ChunkedArray | None:
        """A column of all rows, where it can be had without reading the others."""
        return None

    def cells(self, name: str) -> Iterator[Any]:
        """The cells of one column, None where there is none; few of them are in memory at a time."""
        return (row.get(name) for row in self)

    def position(self, index: int) -> int:
        """The number in the file, from 0, of one of these rows."""
        index = index + len(self) if index < 0 else index
        return index if self._at is None else int(self._at[index])

    def number(self, index: int) -> int:
        """The number in its file of one of these rows, for messages."""
        return self._file_number(self.position(index))

    def select(self, chosen: np.ndarray, without: str | None = None) -> RowsOnDisk:
        """The rows with these numbers [M], without a column."""
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._at = chosen.astype(row_numbers.smallest(self._size())) if self._at is None else self._at[chosen]
        part._without = without
        meant = hashlib.sha256(f"{self.digest} {without}".encode())
        row_numbers.update(meant, part._at)
        part.digest = meant.hexdigest()
        part.names = [name for name in self.names if name != without]
        return part

    def __deepcopy__(self, memo: object) -> RowsOnDisk:
        return self  # rows never change, and files cannot be copied with them


class ArrowRows(RowsOnDisk):
    """Rows of memory-mapped Arrow columns."""

    def __init__(self, path: Path, table: pa.Table, digest: str) -> None:
        super().__init__(path, table.column_names, digest)
        self.table = table
        self._batches = [batch for batch in table.to_batches() if len(batch)]
        self._starts = np.cumsum([0, *(len(batch) for batch in self._batches)])

    def _size(self) -> int:
        return int(self._starts[-1])

    def _row(self, number: int) -> Row:
        part = int(np.searchsorted(self._starts, number, "right")) - 1
        return self._read(self._batches[part].slice(number - int(self._starts[part]), 1))[0]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all rows; mapped where they are all rows of the file."""
        whole = self.table.column(name)
        return whole if self._at is None else whole.take(pa.array(self._at))

    def cells(self, name: str) -> Iterator[Any]:
        """The cells of one column; the others are not read."""
        if name not in self.names:
            yield from (None for _ in range(len(self)))
            return
        column = self.table.column(name)
        for start in range(0, len(self), BATCH):
            some = slice(start, start + BATCH)
            part = column.slice(start, BATCH) if self._at is None else column.take(pa.array(self._at[some]))
            try:
                yield from part.to_pylist()
            except (pa.ArrowException, ValueError, OverflowError) as error:
                raise CounterpointError(
                    f"{self.path}: column '{name}' cannot be read ({str(error)[:120]})"
                ) from None

    def __iter__(self) -> Iterator[Row]:
        if self._at is not None:
            yield from super().__iter__()
            return
        for batch in self.table.to_batches(max_chunksize=BATCH):
            yield from self._read(batch)

    def _read(self, batch: pa.RecordBatch) -> list[Row]:
        try:
            return batch.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise CounterpointError(f"{self.path}: a cell cannot be read ({str(error)[:120]})") from None


class JsonRowsOnDisk(RowsOnDisk):
    """Rows of a file of JSON lines.

    Args:
        path: of the file. folder: of ``converted``, with where lines begin.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(path, json.loads((folder / "names.json").read_text("utf-8")), digest_of(folder))
        self._starts = np.load(folder / "starts.npy", mmap_mode="r")
        lines = folder / "lines.npy"
        self._lines = np.load(lines, mmap_mode="r") if lines.exists() else None
        self._bytes: bytes | mmap.mmap = b""
        if path.stat().st_size:  # an empty file cannot be mapped
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _size(self) -> int:
        return len(self._starts) - 1

    def _file_number(self, number: int) -> int:
        return number + 1 if self._lines is None else int(self._lines[number])

    def _row(self, number: int) -> Row:
        line = self._bytes[int(self._starts[number]) : int(self._starts[number + 1])]
        return json_row(line, self.path, self._file_number(number))


def can_stay(path: Path) -> bool:
    """Whether the rows of such a file can be read from disk."""
    return path.suffix.lower() in (".parquet", ".jsonl")


def size_in_memory(path: Path) -> int:
    """About how many bytes a file's columns take up when they are read: of Parquet, without its compression."""
    if path.suffix.lower() != ".parquet":
        return path.stat().st_size
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
    except (pa.ArrowException, OSError, ValueError):
        return path.stat().st_size  # reading says what is wrong with it


def rows_on_disk(path: Path, encoding: str | None = None) -> RowsOnDisk | None:
    """Rows of a Parquet or JSON lines file; None where they cannot stay on disk: text that is not UTF-8.

    Raises:
        CounterpointError: as of ``read_table``.
    """
    if path.suffix.lower() == ".parquet":
        return arrow_rows(path, [path], lambda: stored.parquet_batches(path, BATCH)[1])
    if encoding is not None or read_head(path):
        return None
    return JsonRowsOnDisk(path, converted([path], "where lines begin", lambda folder: _lines(path, folder)))


def arrow_rows(path: Path, files: Sequence[Path], batches: Callable[[], Iterator[pa.Table]]) -> ArrowRows:
    """Columns of ``batches()``, an iterator of tables, as an Arrow file in the cache; memory-mapped."""

    def fill(folder: Path) -> None:
        writer = None
        for table in batches():
            if writer is None:
                writer = pa.ipc.new_file(folder / "rows.arrow", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()

    folder = converted(files, "Arrow columns", fill)
    file = folder / "rows.arrow"
    table = pa.ipc.open_file(pa.memory_map(str(file))).read_all() if file.exists() else pa.table({})
    return ArrowRows(path, table, digest_of(folder))


def saved_rows(path: Path) -> dict[str, ArrowRows]:
    """Rows of each split of a folder saved by the `datasets` library, which are memory-mapped already.

    Columns that are read as other types than they are stored in, such as numbers of classes, are written into the cache once.
    """
    result = {}
    for name, (table, classes) in stored.saved_columns(path).items():
        inside = path / name if (path / name).is_dir() else path
        files = sorted(inside.glob("*.arrow"))

        def batches(table: pa.Table = table, classes: dict[str, list[str]] = classes) -> Iterator[pa.Table]:
            for batch in table.to_batches(max_chunksize=BATCH):
                yield stored.prepared(pa.Table.from_batches([batch]), classes, path)

        if stored.prepared(table.schema.empty_table(), classes, path).schema.equals(table.schema):
            checked = converted(files, "checked columns", partial(_read_through, batches))
            result[name] = ArrowRows(path / name, table, digest_of(checked))
        else:
            result[name] = arrow_rows(path / name, files, batches)
    return result


def _read_through(batches: Callable[[], Iterator[pa.Table]], folder: Path) -> None:
    """Read every batch once, so that what is damaged comes to light."""
    for _ in batches():
        pass


def read_head(path: Path) -> bool:
    """Whether a file begins with a byte-order mark, or as other encodings than UTF-8 do: it is then read into memory."""
    with path.open("rb") as file:
        head = file.read(4)
    return head[:3] == b"\xef\xbb\xbf" or head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head


def _lines(path: Path, folder: Path) -> None:
    """Check every line as a file that is read whole is checked, and note where it begins."""
    text = read_text(path)
    starts, numbers, names = array("q"), array("q"), dict[str, None]()
    for number, row, start in json_lines_at(text):
        starts.append(start)
        numbers.append(number)
        names.update(dict.fromkeys(row))
    starts.append(path.stat().st_size)
    np.save(folder / "starts.npy", np.frombuffer(starts, np.int64))
    if numbers and numbers[-1] > len(numbers):
        np.save(folder / "lines.npy", np.frombuffer(numbers, np.int64))
    (folder / "names.json").write_text(json.dumps(list(names)), encoding="utf-8")
