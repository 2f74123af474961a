"""Rows of a prompt that stay on disk: each is understood when it is read, and a few numbers of every row are kept instead.

The numbers (a hash of the prompt, lengths, what is there) are what splits, descriptions and checks rest on. They are counted
by reading every row once, so that what is wrong with a file comes to light when it is opened, and are written into the cache.
N rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from counterpoint.data import row_numbers
from counterpoint.data.tables import RowsOnDisk, Table
from counterpoint.data.tables.converted import converted

T = TypeVar("T")
Parse = Callable[[dict[str, Any], Path, int], T]
"""A row's columns, its file and its number there, to what it means."""


@dataclass(frozen=True)
class Facts:
    """What was counted of some rows, a field at a time: ``facts["key"]`` is [M].

    Attributes:
        every: [N] records, mapped. at: [M] which of them are meant; None: all, whose fields stay mapped.
    """

    every: np.ndarray
    at: np.ndarray | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a record."""
        return self.every.dtype

    def __len__(self) -> int:
        return len(self.every) if self.at is None else len(self.at)

    def __getitem__(self, name: str) -> np.ndarray:
        values = self.every[name]
        return values if self.at is None else row_numbers.gathered(values, self.at)


class StoredRows(Sequence[T], Generic[T]):
    """Rows by index or by slice. Of each row that is meant, what is held is its number.

    Args:
        tables: whose rows stay on disk. parse: understands a row; ``name`` stands for it in the fingerprint.
        facts: [N] of every row of the tables, mapped.
    """

    def __init__(self, tables: Sequence[Table], parse: Parse[T], name: str, facts: np.ndarray) -> None:
        self.tables, self.parse, self.facts = tables, parse, Facts(facts, None)
        self._starts = np.cumsum([0, *map(len, tables)])
        self._name = name
        self._rows: np.ndarray | None = None  # of the tables, by the facts' numbers; None: the same
        self._changes: tuple[tuple[str, Callable[[Any], Any]], ...] = ()

    def __len__(self) -> int:
        return len(self.facts)

    @overload
    def __getitem__(self, where: int) -> T: ...
    @overload
    def __getitem__(self, where: slice) -> list[T]: ...
    def __getitem__(self, where: int | slice) -> T | list[T]:
        if isinstance(where, slice):
            return [self[number] for number in range(*where.indices(len(self)))]
        if not -len(self) <= where < len(self):
            raise IndexError(where)
        [number] = self._numbers(range(len(self))[where])
        row: Any = understood(self.parse, *self._source(int(number)))
        for _, change in self._changes:
            row = change(row)
        return row

    def __iter__(self) -> Iterator[T]:
        return (self[number] for number in range(len(self)))

    def select(self, numbers: Sequence[int] | np.ndarray) -> StoredRows[T]:
        """The rows with these numbers."""
        part, facts = self._copy(), self.facts
        chosen = np.asarray(numbers, row_numbers.smallest(len(facts.every)))
        part.facts = Facts(facts.every, chosen if facts.at is None else facts.at[chosen])
        return part

    def changed(self, name: str, change: Callable[[T], Any]) -> StoredRows[Any]:
        """The same rows, each changed when it is read; ``name`` stands for the change in the fingerprint."""
        part = self._copy()
        part._changes = (*self._changes, (name, change))
        return part

    def sample(self, count: int) -> StoredRows[T]:
        """At most so many rows, evenly spaced."""
        return self.select(np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64)))

    def digest(self) -> str:
        """Sha256 of the files' content, of which rows are meant and how they are changed."""
        whole = hashlib.sha256(repr([self._name, *(name for name, _ in self._changes)]).encode())
        for table in self.tables:
            assert isinstance(table.data, RowsOnDisk)
            whole.update(table.data.digest.encode())
        for start in range(0, len(self), row_numbers.PART):
            row_numbers.update(whole, self._numbers(start, min(start + row_numbers.PART, len(self))))
        return whole.hexdigest()

    def _numbers(self, start: int, stop: int | None = None) -> np.ndarray:
        """Numbers over all tables of the rows from ``start`` to ``stop``; of one row without it."""
        stop = start + 1 if stop is None else stop
        at = np.arange(start, stop) if self.facts.at is None else self.facts.at[start:stop]
        return at if self._rows is None else self._rows[at]

    def _source(self, number: int) -> tuple[Table, int, dict[str, Any]]:
        part = int(np.searchsorted(self._starts, number, "right")) - 1
        table, index = self.tables[part], number - int(self._starts[part])
        return table, index, table.data[index]  # type: ignore[return-value]

    def _copy(self) -> StoredRows[T]:
        part = object.__new__(StoredRows)
        part.__dict__.update(self.__dict__)
        return part

    def __deepcopy__(self, memo: object) -> StoredRows[T]:
        return self  # rows never change


def understood(parse: Parse[T], table: Table, index: int, row: dict[str, Any]) -> T:
    """A row of a table with its origin."""
    made: Any = parse(row, table.path, table.number(index))
    return replace(made, origin=table.where(index))


@dataclass(frozen=True)
class Look(Generic[T]):
    """What is counted in each row: ``count(row)`` gives one record of type ``kind``, whose first field ``key`` is a hash of the prompt."""

    count: Callable[[T], tuple[Any, ...]]
    kind: np.dtype

    def of(self, rows: Sequence[T]) -> np.ndarray | Facts:
        """[N] records of rows, by the name of a field: those that were kept, or counted now."""
        if isinstance(rows, StoredRows) and rows.facts.dtype == self.kind:
            return rows.facts
        return np.fromiter(map(self.count, rows), self.kind, len(rows))


def hashed(text: str) -> int:
    """The first 64 bits of a text's sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def stored_rows(tables: Sequence[Table], parse: Parse[T], look: Look[T], name: str) -> StoredRows[T]:
    """Every row of tables whose rows stay on disk, read once to count ``look``.

    Args:
        name: of the kind and of everything that ``parse`` and ``look`` depend on.

    Raises:
        CounterpointError: the first row that cannot be understood.
    """

    def rows() -> Iterator[T]:
        for table in tables:
            for index, row in enumerate(table.rows()):
                yield parse(row, table.path, table.number(index))  # without its origin: that is not counted

    count = sum(map(len, tables))
    digests = [table.data.digest for table in tables if isinstance(table.data, RowsOnDisk)]
    folder = _counted(rows, count, look, repr((name, digests)), None)
    return StoredRows(tables, parse, name, np.load(folder / FACTS, mmap_mode="r"))


def counted_again(rows: StoredRows[T], look: Look[T]) -> StoredRows[T]:
    """Rows after a change, with the numbers of what they are now."""
    part = rows._copy()
    folder = _counted(lambda: iter(rows), len(rows), look, rows.digest(), rows)
    part.facts = Facts(np.load(folder / FACTS, mmap_mode="r"), None)
    part._rows = np.load(folder / ROWS, mmap_mode="r")
    return part


FACTS, ROWS = "facts.npy", "rows.npy"


def _counted(
    rows: Callable[[], Iterator[T]], count: int, look: Look[T], name: str, of: StoredRows[T] | None
) -> Path:
    """The folder in the cache with the facts of rows, and, where they are some rows ``of`` tables, their numbers there."""

    def fill(folder: Path) -> None:
        every = np.lib.format.open_memmap(folder / FACTS, "w+", look.kind, (count,))
        for number, row in enumerate(rows()):
            every[number] = look.count(row)  # one record a row: nothing of the row stays
        every.flush()
        if of is None:
            return
        numbers = np.lib.format.open_memmap(folder / ROWS, "w+", np.int64, (count,))
        for start in range(0, count, row_numbers.PART):
            stop = min(start + row_numbers.PART, count)
            numbers[start:stop] = of._numbers(start, stop)
        numbers.flush()

    return converted([], repr((name, look.kind.descr, count, of is not None)), fill)
