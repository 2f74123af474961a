"""Reads rows with a numeric target, tables of numbers or images, and splits them once and for all.

Columns become numbers when read: a column of text becomes one column per value. Shapes: N rows, F columns of a table, or
C channels of H by W pixels.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from counterpoint.data import tables
from counterpoint.data.images import files as image_files
from counterpoint.data.regression.columns import Column, encode, encode_as, joined, numeric, scaling
from counterpoint.data.regression.doubts import distinct_numbers, sentinel
from counterpoint.data.regression.splits import Regression, RegressionSplit
from counterpoint.data.tables.columns import several_columns
from counterpoint.data.tables.read import INDEX_NAMES, is_count
from counterpoint.errors import CounterpointError, counted, data_option, nearest

TARGETS = ("target", "y", "value", "label", "score", "age")


def load_regression(
    spec: str | Path,
    *,
    target: str | None = None,
    images: bool = False,
    leave_out: str = "",
    names: str = "",
    missing: str = "error",
    columns_of: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
) -> Regression:
    """Load a table with a column of targets, or images with numbers for labels.

    Args:
        spec: a CSV, TSV, JSON lines, JSON or parquet file, or a folder with one per split; with ``images``, anything that
            the images' loader reads (arrays, a table of paths) whose labels are numbers.
        target: the targets' column, when it is none of target, y, value, label, score, age.
        images: the inputs are images.
        leave_out: columns that are no inputs, comma-separated (row numbers, names).
        names: columns whose cells are names even where they look like numbers, comma-separated (postcodes).
        missing: "error", or "mean" to fill gaps in numeric columns with the training mean.
        columns_of: folder of a saved model: columns are encoded, and gaps filled, as that model learnt them.
        delimiter: between the cells of CSV and TSV (comma, tab, semicolon, ...), where it is not found by itself.
        encoding: of text files, such as cp1252, where they are neither UTF-8 nor begin with a byte-order mark.
        size: side in pixels to bring images to.
        limit: at most that many training rows.
        validation, test: shares to cut at random when the files name no such split.
        seed: of the split and the limit.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    spec = str(spec)
    if images:
        inputs, targets, split, notes = _pictures(spec, target, size)
        return build(inputs, targets, split, (), Path(spec).name, notes, limit, validation, test, seed)
    if missing not in ("error", "mean"):
        raise CounterpointError(f"missing='{missing}'; {nearest(missing, ['error', 'mean'])}")
    parts = tables.read_splits(Path(spec), delimiter, encoding)
    every = [table for part in parts.values() for table in part]
    lengths = [sum(map(len, part)) for part in parts.values()]
    split = np.repeat(["train" if name == "all" else name for name in parts], lengths)
    notes = [note for table in every for note in table.notes]
    columns = list(dict.fromkeys(name for table in every for name in table.names))
    column = _target(columns, target, spec, notes)
    targets = _targets(every, column, spec, notes)
    left_out, as_names = _named(leave_out, columns, spec), _named(names, columns, spec)
    if columns_of is not None:
        encoded = encode_as(every, _stored(columns_of), spec)
    else:
        used = [name for name in columns if name not in left_out | {column}]
        encoded = encode(
            every, _inputs(every, used, as_names, notes), spec, missing, split == "train", as_names
        )
    notes += encoded.notes
    return build(
        encoded.inputs,
        targets,
        split,
        encoded.names,
        Path(spec).name,
        notes,
        limit,
        validation,
        test,
        seed,
        encoded.encoding,
        encoded.filled,
    )


def build(
    inputs: np.ndarray,
    targets: np.ndarray,
    split: np.ndarray,
    columns: tuple[str, ...],
    name: str,
    notes: list[str],
    limit: int | None = None,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    encoding: tuple[Column, ...] = (),
    filled: tuple[str, ...] = (),
) -> Regression:
    """Check arrays, cut the splits that ``split`` [N] does not name, and put the data together.

    Raises:
        CounterpointError: too few rows, one value for all targets, shares that leave nothing to train on.
    """
    if len(inputs) < 20:
        raise CounterpointError(
            f"{name}: {len(inputs)} rows; expected at least 20 (hundreds to learn anything)"
        )
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise CounterpointError(
            f"validation={validation}, test={test}; expected shares above 0 that leave some to train on"
        )
    parts = {part: np.flatnonzero(split == part) for part in ("train", "validation", "test")}
    pool = np.random.default_rng(seed).permutation(parts["train"])
    for part, share in (("validation", validation), ("test", test)):
        if not len(parts[part]):
            count = max(1, round(share * len(parts["train"])))
            parts[part], pool = np.sort(pool[:count]), pool[count:]
            notes.append(f"{part} cut at random from the training rows (seed {seed})")
    if limit is not None and limit < 2:
        raise CounterpointError(f"limit={limit}; expected at least 2 training rows")
    parts["train"] = np.sort(pool[:limit])
    if not len(parts["train"]) or len(np.unique(targets[parts["train"]])) < 2:
        raise CounterpointError(
            f"{name}: all {len(parts['train'])} training targets are the same; there is nothing to learn"
        )
    tensor = torch.from_numpy(np.ascontiguousarray(inputs))
    offset, scale = scaling(targets[parts["train"]]) if targets.dtype == np.float64 else (0.0, 1.0)
    if (offset, scale) != (0.0, 1.0):
        targets = (targets - offset) / scale
    y = torch.from_numpy(np.ascontiguousarray(targets, dtype=np.float32))
    rows = {
        part: RegressionSplit(tensor[torch.from_numpy(index)], y[torch.from_numpy(index)])
        for part, index in parts.items()
    }
    return Regression(
        **rows,
        columns=columns,
        notes=tuple(notes),
        name=name,
        encoding=encoding,
        filled=filled,
        offset=offset,
        scale=scale,
    )


def _pictures(
    spec: str, target: str | None, size: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    from counterpoint.data.images.load import same_size
    from counterpoint.data.images.opening import Opening

    images = image_files.read(Path(spec), None, target, opening=Opening(size))
    if images.unreadable:
        raise CounterpointError(
            f"{spec}: {counted(len(images.unreadable), 'file is no readable image', 'files are not readable images')}: {', '.join(images.unreadable)}; mend or remove them"
        )
    notes = list(images.notes)
    pixels = same_size(images, size, spec, notes).transpose(0, 3, 1, 2)
    targets = np.array(
        [_number(label, f"{spec}, image {n}: its label") for n, label in enumerate(images.labels, 1)]
    )
    return pixels, targets, np.array([name or "train" for name in images.splits]), notes


def _target(columns: list[str], wanted: str | None, spec: str, notes: list[str]) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise CounterpointError(f"{spec} has no column '{wanted}'; {nearest(wanted, columns)}")
        return wanted
    candidates = [name for name in TARGETS if name in columns]
    if not candidates:
        raise CounterpointError(
            f"{spec} has columns {', '.join(columns[:12])} and none is called {', '.join(TARGETS)}; name the column of targets: {data_option('target', columns[-1])}"
        )
    notes.extend(several_columns(candidates, "target"))
    return candidates[0]


def _targets(every: list[tables.Table], column: str, spec: str, notes: list[str]) -> np.ndarray:
    """[N] float64; how they are written goes to ``notes`` where it is not Python's way.

    Raises:
        CounterpointError: a target that is no finite number.
    """
    values, gap, wrong, note = numeric(every, column)
    notes.extend([note] if note else [])
    bad = gap | wrong | ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        given = [
            value
            for table in every
            for value in (table.values(column) if column in table.names else [None] * len(table))
        ]
        raise CounterpointError(
            f"{tables.row_at(every, row)}: the target '{column}' is {given[row]!r}; expected a finite number: mend or remove the row"
            + (f" ({int(bad.sum())} rows are like this)" if bad.sum() > 1 else "")
        )
    merged = distinct_numbers(joined(every, column), values, gap)
    if merged is not None:
        raise CounterpointError(
            f"{spec}: the target '{column}' holds {merged[0]} different numbers, of which float64 tells {merged[1]} apart; write them less "
            "a number that they all share"
        )
    notes.extend(sentinel(values, column, "remove these rows"))
    return values


def _named(given: str, columns: list[str], spec: str) -> set[str]:
    wanted = {name.strip() for name in given.split(",") if name.strip()}
    unknown = wanted - set(columns)
    if unknown:
        raise CounterpointError(f"{spec} has no column '{min(unknown)}'; {nearest(min(unknown), columns)}")
    return wanted


def _inputs(every: list[tables.Table], used: list[str], as_names: set[str], notes: list[str]) -> list[str]:
    """Columns that are inputs: an index is none; a column that counts the rows may be one, and is named."""
    index = {name for table in every for name in table.index}
    inputs = []
    for name in used:
        counts = name not in as_names and all(
            name in table.names and len(table) > 2 and is_count(table.column(name)) for table in every
        )
        if name in index or (counts and INDEX_NAMES.fullmatch(name)):
            notes.append(f"column '{name}' is an index: left out")
            continue
        if counts:
            notes.append(
                f"column '{name}' counts the rows; if that is all it does, leave it out with {data_option('leave_out', name)}"
            )
        inputs.append(name)
    return inputs


def _stored(folder: str) -> tuple[Column, ...]:
    """The encoding that a saved model learnt from."""
    try:
        described = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["encoding"]
        return tuple(Column.of(one) for one in described)
    except (OSError, ValueError, KeyError, TypeError):
        raise CounterpointError(
            f"columns_of={folder}: no model whose columns are stored; expected a folder that a run on a table wrote (.../model)"
        ) from None


def _number(given: Any, what: str) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise CounterpointError(f"{what} is {given!r}; expected a finite number: mend or remove the row")
    return value
