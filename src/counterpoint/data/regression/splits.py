"""Rows with a numeric target in three splits, N rows each: what they hold and how they are described."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import Tensor

from counterpoint.data.regression.columns import Column, beyond


@dataclass(frozen=True)
class RegressionSplit:
    """One split: inputs [N, F] floats or [N, C, H, W] uint8, and targets [N]; also what indexing it gives."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> RegressionSplit:
        return RegressionSplit(self.inputs[index], self.targets[index])


@dataclass(frozen=True)
class Regression:
    """Three splits and what was understood about them.

    Attributes:
        columns: names of a table's encoded columns; empty for images.
        encoding: how the file's columns became these, where it was a file; a model that learns from them stores it.
        filled: names of the columns with gaps that were filled.
        offset, scale: targets are held as (target - offset) / scale, where float32 could not hold them otherwise.
    """

    train: RegressionSplit
    validation: RegressionSplit
    test: RegressionSplit
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = "regression"
    encoding: tuple[Column, ...] = ()
    filled: tuple[str, ...] = ()
    offset: float = 0.0
    scale: float = 1.0

    def splits(self) -> dict[str, RegressionSplit]:
        """Return the three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """Sha256 of all inputs and targets in their splits."""
        digest = hashlib.sha256()
        for name, part in self.splits().items():
            digest.update(f"{name}{tuple(part.inputs.shape)}{part.inputs.dtype}{self.columns}".encode())
            digest.update(part.inputs.numpy().tobytes())
            digest.update(part.targets.numpy().tobytes())
        if (self.offset, self.scale) != (0.0, 1.0):
            digest.update(repr((self.offset, self.scale)).encode())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        shape = tuple(self.train.inputs.shape[1:])
        what = f"{shape[0]} columns" if self.columns else "x".join(map(str, shape[1:])) + " pixels"
        y = self.train.targets.double() * self.scale + self.offset
        lines = [
            f"{self.name}: {counts}; {what}",
            f"targets from {y.min():g} to {y.max():g}, mean {y.mean():.4g}, deviation {self.train.targets.double().std() * self.scale:.4g}, {len(y.unique())} values",
        ]
        if (self.offset, self.scale) != (0.0, 1.0):
            lines.append(
                f"targets are {beyond(self.scale)}: methods see (target - {self.offset:g}) / {self.scale:g}, figures are in the "
                "targets' own units"
            )
        seen = {_key(row) for row in self.train.inputs}
        shared = [sum(_key(row) in seen for row in part.inputs) for part in (self.validation, self.test)]
        if any(shared):
            lines.append(
                f"warning: {shared[0]} validation and {shared[1]} test rows have the inputs of a training row"
            )
        return [*lines, *self.notes]


def _key(row: Tensor) -> bytes:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=12).digest()
