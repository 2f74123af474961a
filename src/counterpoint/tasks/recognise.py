"""Which kind of data a file, a folder or a name is likely to be, from names and first lines alone. Loads no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from counterpoint.data.walk import File, walk
from counterpoint.errors import CounterpointError
from counterpoint.tasks.task import bundled, kinds, task

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
TABLES = {".jsonl", ".json", ".csv", ".tsv", ".parquet", ".inter"}
FEW = 8
"""So many pictures or sounds beside tables may be a figure or a logo; more are data."""
TEXTS = {"text", "sentence"}
SOUNDS = {".wav", ".flac", ".mp3", ".ogg", ".aiff", ".aif", ".au", ".gsm", ".opus"}


def kind_of(spec: str) -> str:
    """The kind of data a spec is.

    Raises:
        CounterpointError: it is neither a bundled name nor a path, or its content is of no kind that is known.
    """
    path = Path(spec)
    if not path.exists():
        return _bundled(spec)
    found = _folder(path) if path.is_dir() else _file(path)
    if found is None:
        raise CounterpointError(
            f"{spec}: cannot tell what kind of data this is; say it with --kind, one of {', '.join(kinds())}"
        )
    return found


def _bundled(spec: str) -> str:
    for kind in kinds():
        names = bundled(task(kind))
        if spec in names or any(":" in name and spec.startswith(name.split(":")[0] + ":") for name in names):
            return kind
    if re.fullmatch(r"[\w./:-]+-v\d+", spec):  # how gymnasium names its environments
        return "environment"
    raise CounterpointError(
        f"'{spec}' is neither a file nor a bundled data set; counterpoint data list shows those"
    )


def _folder(path: Path) -> str | None:
    names = walk(path, limit=2000).files
    endings = {file.suffix for file in names}
    for media, kind in ((PICTURES, "images"), (SOUNDS, "audio")):
        if endings & media and not _stray([file for file in names if file.suffix in media], names):
            return kind
    if any(file.suffix == ".txt" and len(file.name.parts) > 1 for file in names) and endings <= {
        ".txt",
        ".md",
        "",
    }:
        return "text"
    if any(file.name.stem == "trajectories" for file in names):
        return "trajectories"
    for file in sorted(names):
        found = _file(file.path)
        if found is not None:
            return found
    return None


def _stray(media: list[File], names: list[File]) -> bool:
    """Whether a few pictures or sounds only lie beside tables: those are of another kind, and their first rows name no such file."""
    tables = [file.path for file in names if file.suffix in TABLES]
    if len(media) > FEW or not tables:
        return False
    kinds_of_tables = {_file(file) for file in tables[:FEW]} - {None}
    if not kinds_of_tables or kinds_of_tables & {"images", "audio"}:
        return False
    rows = "\n".join(
        line for file in tables[:FEW] if file.suffix.lower() != ".parquet" for line in _lines(file)
    )
    return not any(file.name.name in rows for file in media)


def _file(path: Path) -> str | None:
    ending = path.suffix.lower()
    if ending in (".inter", ".tsv", ".csv", ".txt", ".dat", ".base"):
        return _table(path)
    columns = _columns(path)
    if not columns:
        return None
    if columns & {"file", "file_name", "audio"} and _names_sounds(path):
        return "audio"
    if {"chosen", "rejected"} <= columns or ("label" in columns and "completion" in columns):
        return "preferences"
    if (
        columns & {"question", "problem"}
        or {"prompt", "answer"} <= columns
        or {"prompt", "completion"} <= columns
    ):
        return "problems"
    if {"id", "states"} <= columns:
        return "trajectories"
    if "user" in columns or "user_id" in columns:
        return "interactions"
    if columns & {"pixels", "images", "image"}:
        return "images"
    if "target" in columns:
        return "regression"
    if columns & TEXTS:
        return "text"
    return None


def _names_sounds(path: Path) -> bool:
    """Whether a table's first rows name sound files."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            row: Any = next(parquet.ParquetFile(path).iter_batches(1)).to_pylist()
        else:
            row = _lines(path)
    except Exception:  # as in ``_columns``
        return False
    return any(ending in str(row).lower() for ending in SOUNDS)


def _columns(path: Path) -> set[str]:
    """Column names of a JSON lines, JSON, Parquet or NumPy archive file."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            return set(parquet.read_schema(path).names)
        if path.suffix.lower() == ".npz":
            import zipfile

            with zipfile.ZipFile(path) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
        if path.suffix.lower() in (".jsonl", ".json"):
            first: Any = json.loads(_first_row(path) if path.suffix.lower() == ".jsonl" else _all(path))
            first = first[0] if isinstance(first, list) and first else first
            return set(first) if isinstance(first, dict) else set()
    except Exception:  # an unreadable file is of no kind; its loader says what is wrong with it
        return set()
    return set()


def _lines(path: Path) -> list[str]:
    """The first lines of a text, read as its loader reads them."""
    from counterpoint.data.tables.encodings import (
        first_lines,  # brings pyarrow, which a bundled name does not need
    )

    return first_lines(path)


def _first_row(path: Path) -> str | bytes:
    """The first row of JSON lines, however long."""
    lines = [line for line in _lines(path) if line.strip()]
    return lines[0] if len(lines) > 1 else _all(path).strip().split(b"\n")[0]


def _all(path: Path) -> bytes:
    from counterpoint.data.tables.encodings import read_text

    return b"".join(read_text(path).blocks())


def _table(path: Path) -> str | None:
    """Two to four numeric-looking columns, or a header that names a user: interactions."""
    lines = _lines(path)
    if not lines:
        return None
    head = lines[0].lower()
    if any(ending in line.lower() for line in lines[1:] for ending in SOUNDS):
        return "audio"
    if "user" in head:
        return "interactions"
    if "chosen" in head and "rejected" in head:
        return "preferences"
    if any(word in head for word in ("question", "prompt", "problem")):
        return "problems"
    if "target" in head.replace('"', "").strip().replace("\t", ",").split(","):
        return "regression"
    if TEXTS & set(head.replace('"', "").strip().replace("\t", ",").split(",")):
        return "text"
    cells = lines[-1].replace("::", "\t").replace(",", "\t").split()
    return "interactions" if 2 <= len(cells) <= 6 and all(len(cell) <= 24 for cell in cells[:2]) else None
