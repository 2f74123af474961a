"""Rows with a numeric target: tables of numbers, or images; split once and for all into train, validation and test.

Columns become numbers when read: a column of text becomes one column per value. Shapes: N rows, F columns of a table, or
C channels of H by W pixels.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.data import tables
from counterpoint.data.images import files as image_files
from counterpoint.errors import CounterpointError, nearest

TARGETS = ("target", "y", "value", "label", "score", "age")
MOST_VALUES = 50
"""A column of text with more values than this is a name or a sentence, not a category."""


@dataclass(frozen=True)
class Rows:
    """One split: inputs [N, F] floats or [N, C, H, W] uint8, and targets [N]; also what indexing it gives."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> Rows:
        return Rows(self.inputs[index], self.targets[index])


@dataclass(frozen=True)
class Regression:
    """Three splits and what was understood about them; ``columns`` names a table's columns and is empty for images."""

    train: Rows
    validation: Rows
    test: Rows
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = "regression"

    def splits(self) -> dict[str, Rows]:
        """Return the three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """Sha256 of all inputs and targets in their splits."""
        digest = hashlib.sha256()
        for name, part in self.splits().items():
            digest.update(f"{name}{tuple(part.inputs.shape)}{part.inputs.dtype}{self.columns}".encode())
            digest.update(part.inputs.numpy().tobytes())
            digest.update(part.targets.numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        shape = tuple(self.train.inputs.shape[1:])
        what = f"{shape[0]} columns" if self.columns else "x".join(map(str, shape[1:])) + " pixels"
        y = self.train.targets
        lines = [
            f"{self.name}: {counts}; {what}",
            f"targets from {y.min():g} to {y.max():g}, mean {y.mean():.4g}, deviation {y.std():.4g}, {len(y.unique())} values",
        ]
        seen = {_key(row) for row in self.train.inputs}
        shared = [sum(_key(row) in seen for row in part.inputs) for part in (self.validation, self.test)]
        if any(shared):
            lines.append(
                f"warning: {shared[0]} validation and {shared[1]} test rows have the inputs of a training row"
            )
        return [*lines, *self.notes]


def load_regression(
    spec: str | Path,
    *,
    target: str | None = None,
    images: bool = False,
    leave_out: str = "",
    missing: str = "error",
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
        missing: "error", or "mean" to fill gaps in numeric columns with the training mean.
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
        columns: tuple[str, ...] = ()
    else:
        rows = [(name, row) for name, part in tables.read_splits(Path(spec)).items() for row in part]
        split = np.array([{"all": "train"}.get(name, name) for name, _ in rows])
        table = [row for _, row in rows]
        column = _target(table, target, spec)
        targets = np.array(
            [
                _number(row.get(column), f"{spec}, row {n}: the target '{column}'")
                for n, row in enumerate(table, 1)
            ]
        )
        left_out = {name.strip() for name in leave_out.split(",") if name.strip()}
        inputs, columns, notes = _columns(table, left_out | {column}, spec, missing, split == "train")
    return build(inputs, targets, split, columns, Path(spec).name, notes, limit, validation, test, seed)


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
    y = torch.from_numpy(np.ascontiguousarray(targets, dtype=np.float32))
    rows = {
        part: Rows(tensor[torch.from_numpy(index)], y[torch.from_numpy(index)])
        for part, index in parts.items()
    }
    return Regression(**rows, columns=columns, notes=tuple(notes), name=name)


def _pictures(
    spec: str, target: str | None, size: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    from counterpoint.data.images.load import same_size

    found = image_files.read(Path(spec), None, target)
    if found.unreadable:
        raise CounterpointError(
            f"{spec}: {len(found.unreadable)} files are not readable images: {', '.join(found.unreadable[:3])}; mend or remove them"
        )
    notes = list(found.notes)
    pixels = same_size(found, size, spec, notes).transpose(0, 3, 1, 2)
    targets = np.array(
        [_number(label, f"{spec}, image {n}: its label") for n, label in enumerate(found.labels, 1)]
    )
    return pixels, targets, np.array([name or "train" for name in found.splits]), notes


def _target(table: list[tables.Row], wanted: str | None, spec: str) -> str:
    known = list(table[0])
    if wanted is not None:
        if wanted not in known:
            raise CounterpointError(f"{spec} has no column '{wanted}'; {nearest(wanted, known)}")
        return wanted
    found = [name for name in TARGETS if name in known]
    if not found:
        raise CounterpointError(
            f"{spec} has columns {', '.join(known[:12])} and none is called {', '.join(TARGETS)}; name the targets': target={known[-1]}"
        )
    return found[0]


def _number(given: Any, what: str) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise CounterpointError(f"{what} is {given!r}; expected a finite number: mend or remove the row")
    return value


def _columns(
    table: list[tables.Row], out: set[str], spec: str, missing: str, train: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """[N, F] float32, the columns' names, and notes."""
    if missing not in ("error", "mean"):
        raise CounterpointError(f"missing='{missing}'; {nearest(missing, ['error', 'mean'])}")
    names = list(dict.fromkeys(name for row in table for name in row))
    unknown = out - set(names)
    if unknown:
        raise CounterpointError(f"{spec} has no column '{min(unknown)}'; {nearest(min(unknown), names)}")
    made: dict[str, np.ndarray] = {}
    notes = []
    for name in (name for name in names if name not in out):
        cells = [row.get(name) for row in table]
        gaps = np.array([cell is None or cell == "" or cell != cell for cell in cells])
        numbers = _numbers(cells, gaps)
        if numbers is None:
            values = sorted({str(cell) for cell, gap in zip(cells, gaps, strict=True) if not gap})
            if len(values) > MOST_VALUES:
                raise CounterpointError(
                    f"{spec}: column '{name}' holds {len(values)} different texts; leave it out with leave_out={name}, or turn "
                    "it into numbers"
                )
            made |= {f"{name}={value}": np.array([str(cell) == value for cell in cells]) for value in values}
            continue
        if gaps.any():
            if missing == "error":
                raise CounterpointError(
                    f"{spec}: column '{name}' lacks {int(gaps.sum())} values, the first in row {int(np.argmax(gaps)) + 1}; fill "
                    "them, or with missing=mean"
                )
            if gaps[train].all():
                raise CounterpointError(
                    f"{spec}: column '{name}' is empty in training; leave it out with leave_out={name}"
                )
            numbers[gaps] = numbers[train & ~gaps].mean()
            notes.append(f"column '{name}': {int(gaps.sum())} gaps filled with the training mean")
        made[name] = numbers
    if not made:
        raise CounterpointError(
            f"{spec}: no columns are left to predict from; expected at least one besides the target"
        )
    return np.stack(list(made.values()), 1).astype(np.float32), tuple(made), notes


def _numbers(cells: list[Any], gaps: np.ndarray) -> np.ndarray | None:
    """A numeric column with NaN in its gaps; None when some cell is text."""
    try:
        found = np.array([math.nan if gap else float(cell) for cell, gap in zip(cells, gaps, strict=True)])
    except (TypeError, ValueError):
        return None
    return None if np.isinf(found).any() else found


def _key(row: Tensor) -> bytes:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=12).digest()
