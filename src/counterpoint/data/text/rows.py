"""Reads texts and their labels out of tables and folders: one row per text, nothing split or encoded yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.data import tables
from counterpoint.errors import CounterpointError, nearest

TEXT_COLUMNS = ("text", "sentence", "content", "document", "body")
LABEL_COLUMNS = ("label", "labels", "class", "category", "topic")


@dataclass(frozen=True)
class Row:
    """One text: its labels (none: it has no label), the split its file names or None, and where it stands."""

    text: str
    labels: tuple[str, ...]
    split: str | None
    where: str


@dataclass(frozen=True)
class Found:
    """Rows, whether labels came as lists (several a text), and what to tell about the reading."""

    rows: list[Row]
    several: bool
    notes: list[str]


def read(
    path: Path,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    empty: str = "error",
) -> Found:
    """Read a table, a folder with one per split, or a folder ``label/*.txt`` (also ``split/label/*.txt``).

    Args:
        text, label: the columns, when they have none of the usual names; ``label="none"`` reads texts alone.
        separator: what stands between the labels of one cell, such as ";"; None: a cell is one label, a list several.
        empty: "error", or "skip" to leave out rows without text.

    Raises:
        CounterpointError: with the row, what it holds and what was expected.
    """
    if empty not in ("error", "skip"):
        raise CounterpointError(f"empty='{empty}'; {nearest(empty, ['error', 'skip'])}")
    if (
        path.is_dir()
        and any(path.rglob("*.txt"))
        and not any(p.suffix in tables.SUFFIXES for p in path.rglob("*"))
    ):
        found: tuple[list[Row], bool, list[str]] = (_folder(path), False, [])
    else:
        found = _tables(path, text, label, separator)
    rows, several, notes = found
    bare = [row.where for row in rows if not row.text.strip()]
    if bare:
        if empty != "skip":
            raise CounterpointError(
                f"{path}: {len(bare)} rows have no text, the first is {bare[0]}; fill or remove them, or leave them out with empty=skip"
            )
        notes.append(f"{len(bare)} rows without text left out")
        rows = [row for row in rows if row.text.strip()]
    return Found(rows, several, notes)


def _folder(path: Path) -> list[Row]:
    rows = []
    for file in sorted(path.rglob("*.txt")):
        parts = file.relative_to(path).parts[:-1]
        split = tables.SPLITS.get(parts[0].lower()) if parts else None
        inner = parts[1:] if split else parts
        if len(inner) > 1:
            raise CounterpointError(
                f"{file} lies {len(parts)} folders deep; expected LABEL/*.txt, or SPLIT/LABEL/*.txt with train, validation, test"
            )
        try:
            content = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CounterpointError(
                f"{file}: byte {error.start} is no UTF-8; save the file as UTF-8 (iconv -f ENCODING -t UTF-8)"
            ) from None
        rows.append(Row(content.strip(), inner, split, str(file.relative_to(path))))
    return rows


def _tables(
    path: Path, text: str | None, label: str | None, separator: str | None
) -> tuple[list[Row], bool, list[str]]:
    try:
        splits = tables.read_splits(path)
    except UnicodeDecodeError as error:
        raise CounterpointError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    columns = list(
        dict.fromkeys(name for part in splits.values() for row in part[:100] for name in row if name)
    )
    text_column = _column(path, columns, text, TEXT_COLUMNS, "text")
    assert text_column is not None
    label_column = None if label == "none" else _column(path, columns, label, LABEL_COLUMNS, "label")
    rows, several = [], separator is not None
    for split, part in splits.items():
        for number, row in enumerate(part, 1):
            where = f"row {number}" if split == "all" else f"{split}, row {number}"
            given = row.get(text_column)
            if given is not None and not isinstance(given, str):
                raise CounterpointError(
                    f"{path}, {where}: the text in column '{text_column}' is {given!r} ({type(given).__name__}); expected text in "
                    "quotation marks: is this the right column? Name it with text=COLUMN"
                )
            labels, listed = _labels(
                row.get(label_column) if label_column else None, separator, f"{path}, {where}"
            )
            several |= listed
            rows.append(Row((given or "").strip(), labels, None if split == "all" else split, where))
    notes = [] if label_column else ["no column of labels: texts are read without"]
    return rows, several, notes


def _column(
    path: Path, columns: Sequence[str], wanted: str | None, usual: Sequence[str], what: str
) -> str | None:
    if wanted is not None:
        if wanted not in columns:
            raise CounterpointError(f"{path} has no column '{wanted}'; {nearest(wanted, columns)}")
        return wanted
    found = [name for name in usual if name in columns]
    if found or what == "label":
        return found[0] if found else None
    raise CounterpointError(
        f"{path} has columns {', '.join(columns[:12])} and none is called {', '.join(usual)}; name the {what}s': "
        f"{what}={columns[0] if columns else 'COLUMN'}"
    )


def _labels(given: Any, separator: str | None, where: str) -> tuple[tuple[str, ...], bool]:
    """A cell's labels, and whether they came as a list."""
    if isinstance(given, list | tuple):
        return tuple(dict.fromkeys(_name(one, where) for one in given)), True
    if given is None or given == "" or given != given:
        return (), False
    if separator and isinstance(given, str):
        parts = [part.strip() for part in given.split(separator)]
        return tuple(dict.fromkeys(part for part in parts if part)), False
    name = _name(given, where)
    return ((name,) if name else ()), False


def _name(given: Any, where: str) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    if isinstance(given, str | int):
        return str(given).strip()
    raise CounterpointError(
        f"{where}: the label is {given!r} ({type(given).__name__}); expected a name, a whole number, or a list of names"
    )
