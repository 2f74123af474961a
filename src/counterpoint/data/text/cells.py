"""What a cell of a table of texts means: its text, its labels. N texts."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from counterpoint.data import tables
from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Labels:
    """Which labels each text has.

    Attributes:
        codes: [N] numbers into ``sets``. sets: different sets of labels, some of which no text may have.
        several: they came as lists: a text may have several.
    """

    codes: np.ndarray
    sets: Sequence[tuple[str, ...]]
    several: bool = False

    @classmethod
    def of(cls, labels: Sequence[tuple[str, ...]], several: bool = False) -> Labels:
        """Of one set a text."""
        numbers: dict[tuple[str, ...], int] = {}
        codes = np.fromiter(
            (numbers.setdefault(names, len(numbers)) for names in labels), np.int32, len(labels)
        )
        return cls(codes, list(numbers), several)

    def __len__(self) -> int:
        return len(self.codes)

    def select(self, rows: np.ndarray) -> Labels:
        """Those of some texts."""
        return Labels(self.codes[rows], self.sets, self.several)

    def present(self) -> list[tuple[str, ...]]:
        """The sets that some text has."""
        there = np.zeros(len(self.sets), bool)
        there[self.codes] = True
        return [names for names, on in zip(self.sets, there.tolist(), strict=True) if on]


def as_text(value: Any, table: tables.Table, index: int, column: str) -> str:
    """A cell's text without blanks around it, empty where there is none.

    Raises:
        CounterpointError: it holds something else.
    """
    if value is None or isinstance(value, str):
        return (value or "").strip()
    raise CounterpointError(
        f"{table.where(index)}: the text in column '{column}' is {reprlib.repr(value)} ({type(value).__name__}); expected text in "
        "quotation marks: is this the right column? Name it with --data-option text=COLUMN"
    )


def labels_of(
    given: Any, separator: str | None, number: int, where: Callable[[int], str]
) -> tuple[tuple[str, ...], bool]:
    """A cell's labels, and whether they came as a list."""
    if isinstance(given, list | tuple):
        return tuple(dict.fromkeys(_name(one, number, where) for one in given)), True
    if given is None or given == "" or given != given:
        return (), False
    if separator and isinstance(given, str):
        parts = [part.strip() for part in given.split(separator)]
        return tuple(dict.fromkeys(part for part in parts if part)), False
    name = _name(given, number, where)
    return ((name,) if name else ()), False


def _name(given: Any, number: int, where: Callable[[int], str]) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    if isinstance(given, str | int):
        return str(given).strip()
    raise CounterpointError(
        f"{where(number)}: the label is {reprlib.repr(given)} ({type(given).__name__}); expected a name, a whole number, or a list of names"
    )
