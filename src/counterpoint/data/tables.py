"""Rows of JSONL, JSON, CSV, TSV and parquet files, and of folders that hold one file per split. Knows no task."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, MissingExtra

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
}
"""File name stems, up to a "-" or ".", and the split they hold."""

Row = dict[str, Any]


def read_file(path: Path) -> list[Row]:
    """Read one file into rows.

    Raises:
        CounterpointError: an unknown suffix, a broken line (with its number), an empty file.
    """
    if path.suffix not in SUFFIXES:
        raise CounterpointError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(SUFFIXES)}")
    rows: list[Row]
    if path.suffix == ".parquet":
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(path).to_pylist()
    elif path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    else:
        text = path.read_text(encoding="utf-8")
        rows = _json(path, text) if path.suffix == ".json" else _json_lines(path, text)
    if not rows:
        raise CounterpointError(f"{path} holds no rows; expected one example per row")
    return rows


def read_splits(path: Path) -> dict[str, list[Row]]:
    """Read a file, a folder with files named after splits, or a folder saved by the datasets library.

    Returns:
        Rows by split; a single file, or files that name no split, come back under "all".

    Raises:
        CounterpointError: nothing there, or nothing readable in it.
    """
    if path.is_file():
        return {"all": read_file(path)}
    if not path.is_dir():
        raise CounterpointError(
            f"there is no data at {path}; give a {', '.join(SUFFIXES)} file, a folder with train and test files, "
            "or a folder saved by the datasets library"
        )
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _saved(path)
    found: dict[str, list[Row]] = {}
    for file in sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES):
        stem = file.name.split(".")[0].split("-")[0].split("_")[0].lower()
        found.setdefault(SPLITS.get(stem, "all"), []).extend(read_file(file))
    if not found:
        raise CounterpointError(f"{path} holds no {', '.join(SUFFIXES)} file")
    if "all" in found and len(found) > 1:
        raise CounterpointError(
            f"{path} holds files that name a split and files that do not; keep only files named "
            "train, validation and test (e.g. train.jsonl)"
        )
    return found


def _saved(path: Path) -> dict[str, list[Row]]:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "language") from None
    saved = datasets.load_from_disk(str(path))
    if isinstance(saved, datasets.Dataset):
        return {"all": saved.to_list()}
    return {SPLITS.get(name, name): part.to_list() for name, part in saved.items()}


def _json(path: Path, text: str) -> list[Row]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise CounterpointError(
            f"{path}, line {error.lineno}: {error.msg}; expected a list of objects"
        ) from None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise CounterpointError(f"{path} must hold a list of objects, one per example")
    return content


def _json_lines(path: Path, text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CounterpointError(
                f"{path}, line {number}: {error.msg}; expected one JSON object a line"
            ) from None
        if not isinstance(row, dict):
            raise CounterpointError(
                f"{path}, line {number}: expected a JSON object, got {type(row).__name__}"
            )
        rows.append(row)
    return rows
