"""How image files are opened, and where they lie when they are no files of their own: in a table's cell, in a .tar. No torch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.data.tables import Rows
from counterpoint.data.tables.converted import state_of
from counterpoint.errors import CounterpointError


@dataclass(frozen=True)
class Opening:
    """How files are opened.

    Attributes:
        size: pixels a side that each is brought to; None: chosen by the files' headers.
        workers: processes that decode; 0: this one. rows: where pixels are held.
        shapes_only: files' headers are read, and not their pixels: rows have the shapes that the files say.
    """

    size: int | None = None
    workers: int = 0
    rows: Rows = "memory"
    shapes_only: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise CounterpointError(f"workers={self.workers}; expected 0 (none) or a number of processes")


@dataclass(frozen=True)
class StoredFile:
    """An image file inside a table: the bytes of a row's cell, read when it is opened.

    Attributes:
        rows: by index, a dict each, whose ``column`` holds {"bytes": ...}. digest: stands for the table's content.
    """

    rows: Any
    index: int
    column: str
    digest: str

    def open(self) -> io.BytesIO:
        """The bytes."""
        return io.BytesIO(self.rows[self.index][self.column]["bytes"])

    def identity(self) -> tuple[Any, ...]:
        """What stands for the content."""
        return self.digest, self.index, self.column


@dataclass(frozen=True)
class TarMember:
    """An image file inside a .tar: where its bytes lie."""

    path: Path
    offset: int
    size: int

    def open(self) -> io.BytesIO:
        """The bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))

    def identity(self) -> tuple[Any, ...]:
        """What stands for the content."""
        return *state_of(self.path), self.offset


ImageFile = Path | io.BytesIO | StoredFile | TarMember
