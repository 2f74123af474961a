"""A first look at a path: the names in a folder, the column names and first rows of a file. Loads no torch.

Kinds of data recognise themselves by this look (``tasks.descriptions``); what a file really holds is said by its loader.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from counterpoint.data.endings import PICTURES, SOUNDS
from counterpoint.data.walk import walk

DELIMITED = (".csv", ".tsv", ".txt", ".inter", ".dat", ".base", ".data")
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".inter")
SEPARATORS = ("\t", "::", ",", ";", "|", " ")
"""Between the cells of a line, the likeliest first."""
FEW = 8
"""So many pictures or sounds beside tables may be a figure or a logo; more are data."""
LINES, MOST_FILES = 20, 2000
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class FileSample:
    """One file: ``names`` of its columns and its first ``rows``, both empty where it is no table.

    ``names`` are bare and in lower case. Of delimited text they are the first line's cells, whether it names columns or not;
    ``lines`` holds that line, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ending = path.suffix.lower()

    @cached_property
    def lines(self) -> list[list[str]]:
        """The cells of the first lines of delimited text; empty for other formats."""
        from counterpoint.data.tables.encodings import (
            first_lines,  # brings pyarrow, which a name does not need
        )

        if self.ending not in DELIMITED:
            return []
        return _cells([line for line in first_lines(self.path, LINES) if line.strip()])

    @cached_property
    def members(self) -> list[str]:
        """Names of the first members of a .tar file without compression; empty for other formats, and for a damaged one."""
        if self.ending != ".tar":
            return []
        try:
            with tarfile.open(self.path, "r:") as shard:
                return [member.name for member in islice(shard, LINES) if member.isfile()]
        except (tarfile.TarError, OSError, EOFError):
            return []

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        given: Iterable[Any] = self.lines[0] if self.lines else self._typed[0] if self._typed else ()
        return tuple(str(name).strip().strip('"').lower() for name in given)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The first rows, by the names of their columns."""
        cells: Iterable[Iterable[Any]] = self.lines[1:] if self.lines else self._typed[1:]
        return [dict(zip(self.names, row)) for row in cells]

    def has(self, *names: str) -> bool:
        """Whether there are columns of all these names."""
        return set(names) <= set(self.names)

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether there is a column of one of these names."""
        return not set(names).isdisjoint(self.names)

    def names_files(self, columns: Iterable[str], endings: Iterable[str]) -> bool:
        """Whether cells of one of these columns are names of files with one of these endings."""
        wanted, suffixes = set(columns), tuple(endings)
        cells = (row[name] for row in self.rows for name in row if name in wanted)
        paths = (cell.get("path") if isinstance(cell, dict) else cell for cell in cells)
        return any(isinstance(path, str) and path.strip().lower().endswith(suffixes) for path in paths)

    @cached_property
    def _typed(self) -> list[list[Any]]:
        """Names and first rows of JSON, Parquet, Arrow and NumPy archives; empty where that cannot be read."""
        try:
            return _READERS[self.ending](self.path) if self.ending in _READERS else []
        except Exception:  # an unreadable file is of no kind; its loader says what is wrong with it
            return []


class FolderSample:
    """A folder: the names of its files, and what its tables are.

    Args:
        path: the folder.
        kind_of: the kind of one file, None where it is of none.
    """

    def __init__(self, path: Path, kind_of: Callable[[FileSample], str | None]) -> None:
        self.path = path
        self.files = walk(path, limit=MOST_FILES).files
        self.endings = {file.suffix for file in self.files}
        self._kind_of = kind_of

    @cached_property
    def tables(self) -> list[FileSample]:
        """Some of the tables in it."""
        return [FileSample(file.path) for file in self.files if file.suffix in TABLES][:FEW]

    def first_kind(self) -> str | None:
        """The kind of the first file that is of one."""
        kinds = (self._kind_of(FileSample(file.path)) for file in self.files)
        return next((kind for kind in kinds if kind is not None), None)

    def is_of(self, media: tuple[str, ...], kind: str) -> bool:
        """Whether the folder's data are files of this medium.

        They are not where there are more of another medium, or where a few of them only lie beside tables of another kind whose
        first rows name none of them.
        """
        mine = [file for file in self.files if file.suffix in media]
        others = [sum(file.suffix in other for file in self.files) for other in (PICTURES, SOUNDS)]
        if not mine or len(mine) < max(others):
            return False
        if len(mine) > FEW or not self.tables:
            return True
        kinds = {self._kind_of(table) for table in self.tables} - {None}
        if not kinds or kind in kinds:
            return True
        cells = {Path(str(cell)).name for table in self.tables for row in table.rows for cell in row.values()}
        return any(file.name.name in cells for file in mine)


def is_number(cell: str) -> bool:
    """Whether a cell of text is a number.

    >>> is_number("-1.5e3"), is_number("v2")
    (True, False)
    """
    return bool(NUMBER.fullmatch(cell.strip()))


def _cells(lines: list[str]) -> list[list[str]]:
    """The lines' cells, split by the first separator that gives all lines as many; else by the first there is."""
    if not lines:
        return []
    present = [mark for mark in SEPARATORS if mark in lines[0].strip()] or [","]
    splits = [list(_split(lines, mark)) for mark in present]
    return next((rows for rows in splits if len({len(row) for row in rows}) == 1), splits[0])


def _split(lines: list[str], mark: str) -> Iterator[list[str]]:
    if len(mark) == 1 and mark != " ":
        return csv.reader((line + "\n" for line in lines), delimiter=mark)
    return (line.split(None if mark == " " else mark) for line in lines)


def _json_lines(path: Path) -> list[list[Any]]:
    from counterpoint.data.tables.encodings import first_lines

    lines = [line for line in first_lines(path) if line.strip()]
    # A line longer than the first look is cut off there, and is then the only one.
    objects = [
        json.loads(line) for line in (lines if len(lines) > 1 else [_text(path).lstrip().split("\n")[0]])
    ]
    return _of_objects(objects)


def _json(path: Path) -> list[list[Any]]:
    text = _text(path).lstrip()
    if text.startswith("["):
        value = json.JSONDecoder().raw_decode(text, 1 + len(text[1:]) - len(text[1:].lstrip()))[0]
    else:
        value = json.JSONDecoder().raw_decode(text)[0]
    return _of_objects([value])


def _of_objects(objects: list[Any]) -> list[list[Any]]:
    if not all(isinstance(one, dict) for one in objects):
        return []
    names = list(dict.fromkeys(name for one in objects for name in one))
    return [names, *([one.get(name) for name in names] for one in objects)]


def _text(path: Path) -> str:
    from counterpoint.data.tables.encodings import read_text

    return b"".join(read_text(path).blocks()).decode("utf-8")


def _parquet(path: Path) -> list[list[Any]]:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(path)
    row = next(file.iter_batches(1)).to_pylist()
    return [list(file.schema_arrow.names), *(list(values.values()) for values in row)]


def _arrow(path: Path) -> list[list[Any]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        row = stream.read_next_batch().slice(0, 1).to_pylist() if stream.schema.names else []
        return [list(stream.schema.names), *(list(values.values()) for values in row)]


def _arrays(path: Path) -> list[list[Any]]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return [[name.removesuffix(".npy") for name in archive.namelist()]]


def _array(path: Path) -> list[list[Any]]:
    """A bare array is called ``pixels`` where its shape and numbers are those of pictures."""
    import numpy as np

    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return [["pixels"]] if array.ndim in (3, 4) and array.dtype.kind in "uif" else []


_READERS: dict[str, Callable[[Path], list[list[Any]]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".arrow": _arrow,
    ".npz": _arrays,
    ".npy": _array,
}
