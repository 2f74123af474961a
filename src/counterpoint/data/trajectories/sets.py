"""Trajectories and what a person said about them: raw states, answers to similarity queries, preferences.

Legend: N trajectories, T states (waypoints) of W numbers each, M = T W (+ what belongs to the whole trajectory) numbers
in a flattened trajectory, K features that a person may care about, Q answers, P preferences.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.spread import varying

SPLITS = ("train", "validation", "test")


def _none(width: int) -> Tensor:
    return torch.empty(0, width, dtype=torch.long)


@dataclass(frozen=True)
class Trajectories:
    """One split.

    Attributes:
        inputs: [N, M] float32 raw numbers, flattened.
        ids: names of the rows.
        features: [N, K] float32, standardised by the training split, what a simulated person looks at; None if unknown.
        answers: [Q, 3] rows (anchor, positive, negative): of the three, a person finds the first two most alike.
        preferences: [P, 2] rows (chosen, rejected).
    """

    inputs: Tensor
    ids: list[str]
    features: Tensor | None = None
    answers: Tensor = field(default_factory=lambda: _none(3))
    preferences: Tensor = field(default_factory=lambda: _none(2))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.inputs[index]


@dataclass(frozen=True)
class TrajectoryData:
    """Three splits of the same kind of trajectory.

    Attributes:
        shape: (T, W) when every trajectory is T states of W numbers (what a query session draws), else None.
        columns: names of a state's numbers. feature_names: names of the K features.
        source: what was loaded. notes: how it was understood, one sentence each.
        layout: names the drawing of the bundled environments ("grid", "digit"), or "series", of
            which ``shown`` says which of a state's numbers are drawn (all, when empty).
    """

    train: Trajectories
    validation: Trajectories
    test: Trajectories
    shape: tuple[int, int] | None = None
    columns: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()
    layout: str = "series"
    shown: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """M."""
        return self.train.inputs.shape[1]

    def splits(self) -> dict[str, Trajectories]:
        """The splits by name."""
        return {name: getattr(self, name) for name in SPLITS}

    def describe(self) -> list[str]:
        """What was understood, a sentence a line."""
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in self.splits().items())
        lines = [f"{self.source}: trajectories {sizes}; {self.width:,} raw numbers each"]
        if self.shape:
            named = f" ({', '.join(self.columns)})" if self.columns else ""
            lines.append(f"{self.shape[0]} states of {self.shape[1]} numbers{named}")
        has_features = self.train.features is not None
        lines.append(
            f"features for a simulated person: {', '.join(self.feature_names)}"
            if has_features
            else "no features: only a person's own answers can be learnt from"
        )
        for name in ("answers", "preferences"):
            counts = {split: len(getattr(part, name)) for split, part in self.splits().items()}
            if any(counts.values()):
                lines.append(f"{name}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
        return [*lines, *self.notes]

    def fingerprint(self) -> str:
        """Sha256 of the content of all splits."""
        digest = hashlib.sha256()
        for part in self.splits().values():
            digest.update("\x1f".join(part.ids).encode())
            for tensor in (part.inputs, part.features, part.answers, part.preferences):
                if tensor is not None:
                    digest.update(str(tuple(tensor.shape)).encode())
                    digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def split_rows(count: int, train: float, validation: float, seed: int) -> dict[str, Tensor]:
    """Split ``count`` rows at random; what ``train`` and ``validation`` (shares) leave is the test split.

    Raises:
        CounterpointError: too few rows, or shares that leave nothing.
    """
    if not (0 < train < 1 and 0 < validation < 1 and train + validation < 1):
        raise CounterpointError(
            f"train={train}, validation={validation}: give shares above 0 that leave something for the test split"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    first, second = round(count * train), round(count * (train + validation))
    parts = dict(zip(SPLITS, (order[:first], order[first:second], order[second:])))
    empty = [name for name, rows in parts.items() if not len(rows)]
    if empty:
        raise CounterpointError(
            f"{count} rows leave no {empty[0]} split; give more of them, or other shares train= and validation="
        )
    return {name: rows.sort().values for name, rows in parts.items()}


def standardised(features: Tensor, train: Tensor) -> Tensor:
    """Features with mean 0 and deviation 1 over the training rows; one that never varies there becomes 0."""
    mean, deviation = features[train].mean(0), features[train].std(0, unbiased=False)
    varies = varying(features[train], deviation)
    return torch.where(varies, (features - mean) / deviation.where(varies, 1.0), 0.0)


def divided(
    inputs: Tensor, features: Tensor, names: tuple[str, ...], train: float, validation: float, seed: int
) -> tuple[Trajectories, Trajectories, Trajectories]:
    """Training, validation and test split of a set whose features are known."""
    parts = split_rows(len(inputs), train, validation, seed)
    scaled = standardised(features, parts["train"])
    if not bool(torch.isfinite(scaled).all() and torch.isfinite(inputs).all()):
        raise CounterpointError(
            f"not all of the trajectories' numbers or features ({', '.join(names)}) are finite"
        )
    first, second, third = (
        Trajectories(inputs[rows].float(), [str(int(row)) for row in rows], scaled[rows].float())
        for rows in parts.values()
    )
    return first, second, third
