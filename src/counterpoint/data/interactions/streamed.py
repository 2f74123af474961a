"""Reads files of interactions a part at a time into mapped arrays, for those that do not fit into memory.

What can only be judged by all of a column (ids like 3.0, decimal commas, cells of several types, anything wrong) is left
to the reader of whole files, which says what it is: ``NotStreamed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterpoint.data.interactions.arrays import Arrays, first_seen
from counterpoint.data.interactions.files import (
    CANDIDATES,
    Table,
    described,
    named_columns,
    refuse_twice,
    roles_of,
    understood,
)
from counterpoint.data.interactions.rows import ORDER, CodedPairs
from counterpoint.data.row_numbers import parts
from counterpoint.data.tables import cells, split_of, stored
from counterpoint.data.tables.delimited import head_of, separator_of
from counterpoint.data.tables.encodings import read_text
from counterpoint.data.tables.read import refuse_repeated_names
from counterpoint.data.tables.stream import batches_of, layout_of, stream_table

BATCH = 2**16
"""Rows of a part, at most."""
CODES = np.int32
"""Of users and items; as many as that counts."""
BETWEEN = ("::", " ")
"""Separators of several characters, which a file is rewritten for."""


class NotStreamed(Exception):
    """A file that has to be read whole."""


@dataclass
class Column:
    """Numbers of one column, written to a file of the scratch folder as they come."""

    file: Path
    kind: np.dtype
    size: int = 0

    def add(self, values: np.ndarray) -> None:
        """Write some more."""
        with self.file.open("ab") as file:
            np.ascontiguousarray(values, self.kind).tofile(file)
        self.size += len(values)

    def mapped(self) -> np.ndarray:
        """[size] what was written."""
        if not self.size:
            return np.empty(0, self.kind)
        return np.asarray(np.memmap(self.file, self.kind, "r+"))


@dataclass
class Ids:
    """Ids by number, in the order in which they first occur."""

    numbers: dict[str, int] = field(default_factory=dict)

    def codes(self, column: pa.ChunkedArray) -> np.ndarray:
        """[N] numbers of a column's ids."""
        encoded = column.combine_chunks().dictionary_encode()
        numbers = self.numbers
        table = [numbers.setdefault(name, len(numbers)) for name in encoded.dictionary.to_pylist()]
        if len(numbers) > np.iinfo(CODES).max:
            raise NotStreamed
        return np.array(table, CODES)[encoded.indices.to_numpy()]


@dataclass(frozen=True)
class Source:
    """A file or a split of a folder: tables of one schema, and how they are read.

    Attributes:
        path: for messages. tables: one part after the other. header: the columns have names of their own.
        how: it was read, for a note. separator: of the cells, where they are text.
    """

    path: Path
    tables: Callable[[], Iterator[pa.Table]]
    header: bool
    how: str
    separator: str = ""


def read(
    sources: dict[str, Source], given: dict[str, str], arrays: Arrays
) -> tuple[CodedPairs, np.ndarray | None, dict[str, str], set[str]]:
    """Read sources by the part that they are, as ``files.read_table`` and ``rows.coded`` do.

    Args:
        sources: by part, in the order of ``rows.ORDER``. given: columns by role. arrays: where what is read goes.

    Returns:
        The coded rows, their ratings where every file has them, how each was understood, and the parts that there are.

    Raises:
        NotStreamed: one has to be read whole.
    """
    assert arrays.folder is not None
    kinds = {"users": CODES, "items": CODES, "times": np.float64, "ratings": np.float64, "part": np.int8}
    out = {name: Column(arrays.folder / f"scratch-{name}", np.dtype(kind)) for name, kind in kinds.items()}
    ids, notes, splits = (Ids(), Ids()), {}, set[str]()
    for part, source in sources.items():
        notes[part], named = _read_source(source, part, given, ids, out)
        splits |= named
    count = out["part"].size
    have = {name: column.mapped() if column.size == count else None for name, column in out.items()}
    users, items, where = have["users"], have["items"], have["part"]
    assert users is not None
    assert items is not None
    assert where is not None
    rows = CodedPairs(users, items, have["times"], where, list(ids[0].numbers), list(ids[1].numbers))
    if not splits:
        return rows, have["ratings"], notes, set(sources)
    return *_by_part(rows, have["ratings"], arrays), notes, splits


def _by_part(
    rows: CodedPairs, ratings: np.ndarray | None, arrays: Arrays
) -> tuple[CodedPairs, np.ndarray | None]:
    """Rows of a file whose column ``split`` says their part: training rows first, ids numbered as they then occur."""
    count = len(rows.part)
    order, filled = arrays.empty(count, np.int64), 0
    for number in range(3):
        for start, part in parts(rows.part):
            here = np.flatnonzero(part == number)
            order[filled : filled + len(here)] = here + start
            filled += len(here)
    users, items = arrays.taken(rows.users, order), arrays.taken(rows.items, order)
    names = []
    for codes, ids in ((users, rows.user_ids), (items, rows.item_ids)):
        rank = first_seen(codes, len(ids))
        for start, part in parts(codes):
            codes[start : start + len(part)] = rank[part]
        renamed = [""] * len(ids)
        for old, new in enumerate(rank.tolist()):
            renamed[new] = ids[old]
        names.append(renamed)
    times = None if rows.times is None else arrays.taken(rows.times, order)
    moved = CodedPairs(users, items, times, arrays.taken(rows.part, order), *names)
    return moved, None if ratings is None else arrays.taken(ratings, order)


def _read_source(
    source: Source, part: str, given: dict[str, str], ids: tuple[Ids, Ids], out: dict[str, Column]
) -> tuple[str, set[str]]:
    """Write one source's columns; how it was understood, and the parts that a column of it names."""
    roles: dict[str, str] = {}
    size, splits, last = 0, set[str](), ""
    schema: pa.Schema | None = None
    dates: bool | None = None
    for table in source.tables():
        schema = schema or table.schema
        roles = roles or roles_of(source.path, table, source.header, given)
        _refuse_uncertain(table, roles)
        in_words = "time" in roles and _are_dates(table.column(roles["time"]))
        read = understood(source.path, table, roles, source.header, source.how, source.separator)
        description = read.understood.partition(" rows")[2]
        ways = "; " in description.rpartition("): ")[2]  # how ratings are written is judged by all of them
        if not table.schema.equals(schema) or (size and (description != last or in_words != dates)) or ways:
            raise NotStreamed
        last, dates = description, in_words
        splits |= _write(read, part, ids, out)
        size += len(table)
    if not size:
        raise NotStreamed
    return f"{size:,} rows{last}", splits


def _write(read: Table, part: str, ids: tuple[Ids, Ids], out: dict[str, Column]) -> set[str]:
    out["users"].add(ids[0].codes(read.users))
    out["items"].add(ids[1].codes(read.items))
    if read.times is not None:
        out["times"].add(read.times)
    if read.ratings is not None:
        out["ratings"].add(read.ratings)
    if read.splits is None or part != "all":
        out["part"].add(np.full(len(read), ORDER[part], np.int8))
        return set()
    names = np.unique(read.splits).tolist()
    codes = np.zeros(len(read), np.int8)
    for name in names:
        codes[read.splits == name] = ORDER[name]
    out["part"].add(codes)
    return set(names)


def _refuse_uncertain(table: pa.Table, roles: dict[str, str]) -> None:
    """Ids that are decimal numbers are names of whole ones where all of the column are."""
    for role in ("user", "item"):
        column = table.column(roles[role])
        if pa.types.is_floating(column.type) or pa.types.is_null(column.type):
            raise NotStreamed
        if cells.is_text(column) and pc.any(pc.match_substring(column, ".0")).as_py():
            raise NotStreamed


def _are_dates(column: pa.ChunkedArray) -> bool:
    """Whether a column of text holds no numbers; within a part, a mixture is refused where it is read."""
    return cells.is_text(column) and bool(cells.numbers(column.slice(0, 1))[2].any())


def of_file(file: Path, given: dict[str, str], delimiter: str | None, encoding: str | None) -> Source:
    """A file, by its ending.

    Raises:
        NotStreamed: one that is read whole: JSON lists, text that is not UTF-8, cells between blanks or "::".
    """
    suffix = file.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return Source(file, lambda: stored.parquet_batches(file, BATCH)[1], True, "Parquet")
    if suffix == ".json":
        raise NotStreamed
    if suffix == ".jsonl":
        return Source(file, lambda: _json_lines(file, encoding), True, "JSON")
    text = read_text(file, encoding, fallback="cp1252")
    head = head_of(text)
    likely = [separator_of(delimiter)] if delimiter else [mark for mark in CANDIDATES if mark in head]
    if text.data is not None or not likely or likely[0] in BETWEEN:
        raise NotStreamed
    layout = layout_of(text, tuple(mark for mark in likely if mark not in BETWEEN), None)

    def batches() -> Iterator[pa.Table]:
        return (pa.Table.from_batches([batch]) for batch in batches_of(text, layout) if len(batch))

    header, names = named_columns(file, next(batches()), given)
    if header and not names[0]:
        raise NotStreamed  # perhaps row numbers, which all rows show
    refuse_twice(names, file)

    def tables() -> Iterator[pa.Table]:
        for number, batch in enumerate(batches()):
            table = batch.slice(int(header and not number))
            if header:
                refuse_repeated_names(table, names, file)
            if len(table):
                yield table.rename_columns(names)

    how = described(layout.mark, header) + (f", {text.note}" if text.note else "")
    return Source(file, tables, header, how, layout.mark)


def of_saved(path: Path) -> dict[str, Source]:
    """The splits of a folder that the `datasets` library saved, which are mapped.

    Raises:
        NotStreamed: splits of other names.
    """
    result = {}
    for name, (table, classes) in stored.saved_columns(path).items():

        def tables(table: pa.Table = table, classes: dict[str, list[str]] = classes) -> Iterator[pa.Table]:
            for batch in table.to_batches(max_chunksize=BATCH):
                yield stored.prepared(pa.Table.from_batches([batch]), classes, path)

        part = split_of(name) or name or "all"
        result[part] = Source(path / name, tables, True, "a folder of the datasets library")
    if set(result) != {"all"} and not {"train", "test"} <= set(result) <= set(ORDER):
        raise NotStreamed
    return {part: result[part] for part in ORDER if part in result}


def _json_lines(file: Path, encoding: str | None) -> Iterator[pa.Table]:
    for part in stream_table(file, size=BATCH, encoding=encoding).parts():
        yield pa.table({name: part.column(name) for name in part.names})
