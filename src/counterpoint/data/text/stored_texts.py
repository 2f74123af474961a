"""Texts that stay on disk: each is read when it is needed, and a few numbers of every one are kept instead.

The numbers (a hash, words, characters, which labels) are what splits, descriptions and checks rest on. They are counted by reading
every text once, and are written into the cache. N texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from counterpoint.data import row_numbers
from counterpoint.data.tables import RowsOnDisk, Table
from counterpoint.data.tables.converted import converted
from counterpoint.data.text.cells import Labels, as_text, labels_of
from counterpoint.data.text.split import KEY, text_key

FACTS, ABOUT = "facts.npy", "about.json"
KIND = np.dtype([("key", KEY), ("words", "<i4"), ("size", "<i4"), ("label", "<i4")])
"""Of each text: the hash that its copies share, its words and characters, its labels by number."""


class StoredTexts(Sequence[str]):
    """Texts by index or by slice. Of each text that is meant, what is held is its number.

    Args:
        tables: whose rows stay on disk. column: of the texts. facts: [N] of every row of the tables, mapped.
        most: only so many words of each text; None: all.
    """

    def __init__(self, tables: Sequence[Table], column: str, facts: np.ndarray, most: int | None) -> None:
        self.tables, self.column, self.most = tables, column, most
        self._facts = facts
        self._at: np.ndarray | None = None
        self._starts = np.cumsum([0, *map(len, tables)])

    def __len__(self) -> int:
        return len(self._facts) if self._at is None else len(self._at)

    @overload
    def __getitem__(self, where: int) -> str: ...
    @overload
    def __getitem__(self, where: slice) -> list[str]: ...
    def __getitem__(self, where: int | slice) -> str | list[str]:
        if isinstance(where, slice):
            return [self[number] for number in range(*where.indices(len(self)))]
        number = range(len(self))[where]
        number = number if self._at is None else int(self._at[number])
        part = int(np.searchsorted(self._starts, number, "right")) - 1
        table, index = self.tables[part], number - int(self._starts[part])
        return cut(as_text(table.data[index].get(self.column), table, index, self.column), self.most)  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    def fact(self, name: str) -> np.ndarray:
        """[N] one of the numbers of each text."""
        values = self._facts[name]
        return values if self._at is None else row_numbers.gathered(values, self._at)

    def select(self, numbers: Sequence[int] | np.ndarray) -> StoredTexts:
        """The texts with these numbers."""
        part = object.__new__(StoredTexts)
        part.__dict__.update(self.__dict__)
        chosen = np.asarray(numbers, row_numbers.smallest(len(self._facts)))
        part._at = chosen if self._at is None else self._at[chosen]
        return part

    def digest(self) -> str:
        """Sha256 of the files' content and of which texts are meant."""
        whole = hashlib.sha256(repr((self.column, self.most)).encode())
        for table in self.tables:
            assert isinstance(table.data, RowsOnDisk)
            whole.update(table.data.digest.encode())
        if self._at is not None:
            row_numbers.update(whole, self._at)
        return whole.hexdigest()

    def __deepcopy__(self, memo: object) -> StoredTexts:
        return self  # texts never change


def cut(text: str, most: int | None) -> str:
    """The first so many words of a text; all of it without a number."""
    return text if most is None else " ".join(text.split()[:most])


def read(
    tables: Sequence[Table], column: str, label: str | None, separator: str | None, most: int | None
) -> tuple[StoredTexts, Labels]:
    """Texts and labels of tables whose rows stay on disk, read once to count what is kept of each.

    Args:
        column, label: of the texts and their labels; no labels without the latter. separator: between labels of one cell.
        most: only so many words of each text.

    Raises:
        CounterpointError: the first cell that is no text, or no label.
    """
    count = sum(map(len, tables))
    digests = [table.data.digest for table in tables if isinstance(table.data, RowsOnDisk)]

    def fill(folder: Path) -> None:
        every = np.lib.format.open_memmap(folder / FACTS, "w+", KIND, (count,))
        numbers: dict[tuple[str, ...], int] = {}
        start, several = 0, separator is not None
        for table in tables:
            assert isinstance(table.data, RowsOnDisk)
            for index, value in enumerate(table.data.cells(column)):
                text = cut(as_text(value, table, index, column), most)
                every[start + index] = (text_key(text), len(text.split()), len(text), 0)
            cells = table.data.cells(label) if label in table.names else (None for _ in range(len(table)))
            for index, value in enumerate(cells):
                names, listed = labels_of(value, separator, index, table.where)
                several |= listed
                every["label"][start + index] = numbers.setdefault(names, len(numbers))
            start += len(table)
        every.flush()
        about = {"sets": list(numbers), "several": several}
        (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")

    name = repr(("texts", digests, column, label, separator, most, KIND.descr))
    folder = converted([], name, fill)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    facts = np.load(folder / FACTS, mmap_mode="r")
    texts = StoredTexts(tables, column, facts, most)
    return texts, Labels(facts["label"], [tuple(names) for names in about["sets"]], about["several"])
