"""Where the rows to predict for come from: a file, a folder, standard input, or Python's own values, one row at a time."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from counterpoint.data.tables import SUFFIXES
from counterpoint.data.tables import stored as stored_tables
from counterpoint.data.tables.encodings import Text, first_lines, read_text
from counterpoint.data.tables.stream import Streamed, stream_table, stream_whole
from counterpoint.data.tables.table import Table
from counterpoint.data.walk import File, walk
from counterpoint.errors import CounterpointError
from counterpoint.prediction.predictor import Predictor, Row

STDIN = "-"
Given = tuple[Row, dict[str, Any]]
"""A row, and what names it in the output: ``file``, or ``row`` and, where it has one, ``id``."""


@dataclass(frozen=True)
class Source:
    """Rows to predict for, and how many there are where that is known."""

    rows: Iterator[Given]
    total: int | None


@contextmanager
def opened(data: Any, predictor: Predictor) -> Iterator[Source]:
    """Open data.

    Args:
        data: a path; "-" for standard input (JSON lines, CSV, or a plain value a line); or any iterable of rows (dicts, or values of
            the predictor's ``plain`` column).

    Raises:
        CounterpointError: nothing there, or nothing that this model reads.
    """
    if isinstance(data, str) and data == STDIN:
        with tempfile.TemporaryDirectory() as folder:  # on disk: CSV is passed over twice
            yield _file(_standard_input(Path(folder), predictor), predictor, Path(), "standard input")
        return
    if isinstance(data, str | Path):
        path = Path(data)
        if not path.exists():
            raise CounterpointError(
                f"there is no data at {data}; expected a table ({', '.join(SUFFIXES)}), "
                + (f"a {' or '.join(predictor.endings[:3])} file, " if predictor.endings else "")
                + "a folder of such files, or - for standard input"
            )
        yield _folder(path, predictor) if path.is_dir() else _file(path, predictor, base=path.parent)
        return
    yield _values(data, predictor)


def _values(data: Any, predictor: Predictor) -> Source:
    """Python's values: an iterable of rows, an array of inputs, a frame that gives its rows as dicts."""
    if isinstance(data, Mapping):
        raise CounterpointError(f"one row was given; put it into a list: [{dict(data)!r:.80}]")
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        data = data.to_dict("records")
    elif hasattr(data, "to_pylist"):
        data = data.to_pylist()
    if not isinstance(data, Iterable):
        raise CounterpointError(
            f"data of type {type(data).__name__}; expected a path, or rows: a list of dicts or of values"
        )

    def rows() -> Iterator[Given]:
        for number, value in enumerate(data, 1):
            cells = value if isinstance(value, Mapping) else _plain(value, predictor, f"row {number}")
            yield Row(cells, f"row {number}", number), _named(cells, number)

    return Source(rows(), len(data) if isinstance(data, Sized) else None)


def _plain(value: Any, predictor: Predictor, where: str) -> dict[str, Any]:
    if not predictor.plain:
        raise CounterpointError(f"{where}: {value!r:.60}; expected a dict, such as {predictor.example}")
    return {predictor.plain: value}


def _named(cells: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"row": number, "id": cells["id"]} if cells.get("id") is not None else {"row": number}


def _file(path: Path, predictor: Predictor, base: Path, name: str | None = None) -> Source:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return _streamed(stream_table(path), base, name)
    if suffix == ".txt" and predictor.plain:
        return _lines(path, predictor, base, name)
    if suffix in predictor.endings:
        return Source(iter([_of_file(File(PurePosixPath(path.name), path), predictor)]), 1)
    if suffix in (".npy", ".npz"):
        return _arrays(path, predictor)
    raise CounterpointError(
        f"{path} ends in '{path.suffix}'; expected one of {', '.join((*SUFFIXES, *predictor.endings, '.npy'))}"
    )


def _folder(path: Path, predictor: Predictor) -> Source:
    if stored_tables.is_saved(path):
        parts = [
            _streamed(stream_whole(Table(path / name, table)), path)
            for name, table in stored_tables.read_saved(path).items()
        ]
        return _joined(parts)
    files = walk(path)
    own = files.of(predictor.endings) if predictor.endings else []
    if own:
        return Source((_of_file(file, predictor) for file in own), len(own))
    tables = files.of(SUFFIXES)
    if not tables:
        kinds = ", ".join((*predictor.endings[:4], *SUFFIXES))
        raise CounterpointError(f"{path} holds no file that this model reads; expected {kinds}")
    return _joined([_file(file.path, predictor, file.path.parent) for file in tables])


def _joined(parts: list[Source]) -> Source:
    totals = [part.total for part in parts]
    total = None if None in totals else sum(size for size in totals if size is not None)
    return Source(chain.from_iterable(part.rows for part in parts), total)


def _of_file(file: File, predictor: Predictor) -> Given:
    cells: dict[str, Any] = {predictor.plain: str(file.path.absolute())}
    if predictor.documents:
        cells = {predictor.plain: b"".join(read_text(file.path).blocks()).decode("utf-8")}
    return Row(cells, str(file.path), 1), {"file": str(file.name)}


def _streamed(streamed: Streamed, base: Path, name: str | None = None) -> Source:
    def rows() -> Iterator[Given]:
        for table in streamed.parts():
            for at, cells in enumerate(table.rows()):
                number = table.number(at)
                where = f"{name or table.path}, row {number}"
                yield Row(cells, where, number, base, table.separator), _named(cells, number)

    return Source(rows(), streamed.total)


def _lines(path: Path, predictor: Predictor, base: Path, name: str | None) -> Source:
    """A plain value a line; blank lines are passed over."""
    text = read_text(path)

    def rows() -> Iterator[Given]:
        with text.open() as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    cells = {predictor.plain: line.decode("utf-8").strip()}
                    yield Row(cells, f"{name or path}, row {number}", number, base), {"row": number}

    total = _count(text)
    if not total:
        raise CounterpointError(f"{name or path} holds no line; expected a {predictor.plain} a line")
    return Source(rows(), total)


def _count(text: Text) -> int:
    with text.open() as file:
        return sum(not line.isspace() for line in file)


def _arrays(path: Path, predictor: Predictor) -> Source:
    """Rows of a .npy file, which stays on disk, or of the first array of a .npz file."""
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else loaded[loaded.files[0]]
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise CounterpointError(f"{path}: {error}; save plain arrays: np.save(path, rows)") from None
    if not predictor.plain:
        raise CounterpointError(f"{path} holds an array, and this model reads named columns; give a table")

    def rows() -> Iterator[Given]:
        for number, value in enumerate(array, 1):
            yield Row({predictor.plain: np.asarray(value)}, f"{path}, row {number}", number), {"row": number}

    return Source(rows(), len(array))


def _standard_input(folder: Path, predictor: Predictor) -> Path:
    """Standard input in a file whose ending says what it holds: JSON lines, a table with column names, or plain lines."""
    raw = folder / "rows"
    with raw.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    head = next((line.strip() for line in first_lines(raw, 20) if line.strip()), "")
    if not head:
        raise CounterpointError("standard input is empty; expected rows: JSON lines, CSV, or a value a line")
    ending = ".jsonl" if head.startswith("{") else ".json" if head.startswith("[") else ".txt"
    for mark, table in ((",", ".csv"), (";", ".csv"), ("\t", ".tsv")):
        cells = {cell.strip().strip('"') for cell in head.split(mark)}
        if ending == ".txt" and (cells & set(predictor.columns) or (not predictor.plain and len(cells) > 1)):
            ending = table
    return raw.rename(raw.with_suffix(ending))
