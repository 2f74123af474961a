"""Labelled clips of sound in three splits: what they hold and how they are described.

Samples stay int16 until a batch is used. Shapes: N clips, S samples of the longest clip of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import counted


@dataclass(frozen=True)
class ClipBatch:
    """Some clips: waves_NS in [-1, 1], zero after each clip's end; lengths_N in samples; labels_N."""

    waves: Tensor
    lengths: Tensor
    labels: Tensor

    def to(self, device: torch.device | str, **options: bool) -> ClipBatch:
        """Move everything to a device."""
        return ClipBatch(*(value.to(device, **options) for value in vars(self).values()))


@dataclass(frozen=True)
class Clips:
    """One split: ``len()`` and indexing by a LongTensor, as the Run's batches want it.

    Attributes:
        samples: int16, all clips one after the other.
        starts, lengths: [N] where each begins and how long it is, in samples.
        labels: [N].
        groups: [N] speakers, towns or prompts; "" without any.
        texts: [N] what is said; "" where it is not known.
        files: [N] where each comes from.
    """

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor
    groups: tuple[str, ...]
    texts: tuple[str, ...]
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> ClipBatch:
        lengths = self.lengths[index]
        waves = torch.zeros(len(lengths), int(lengths.max()) if len(lengths) else 0)
        for row, (start, length) in enumerate(
            zip(self.starts[index].tolist(), lengths.tolist(), strict=True)
        ):
            waves[row, :length] = self.samples[start : start + length].float() / 32768
        return ClipBatch(waves, lengths, self.labels[index])

    @property
    def longest(self) -> int:
        """Samples of the longest clip."""
        return int(self.lengths.max())

    def subset(self, index: Tensor | np.ndarray | Sequence[int]) -> Clips:
        """Return the rows of ``index`` as a split of their own; samples are shared."""
        index = torch.as_tensor(index, dtype=torch.long)
        names = [tuple(column[i] for i in index.tolist()) for column in (self.groups, self.texts, self.files)]
        rows = self.starts[index], self.lengths[index], self.labels[index]
        return type(self)(self.samples, *rows, *names)


@dataclass(frozen=True)
class Audio:
    """Three splits and what was understood about them.

    Attributes:
        classes: names of the labels.
        sample_rate: samples per second of all clips.
        seconds: how long a clip may be.
        group: what the groups are called; "" without any.
    """

    train: Clips
    validation: Clips
    test: Clips
    classes: tuple[str, ...]
    sample_rate: int
    seconds: float
    group: str = ""
    notes: tuple[str, ...] = ()
    name: str = "audio"

    def splits(self) -> dict[str, Clips]:
        """Return the three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> str:
        """Sha256 of all samples, labels, groups and texts in their splits."""
        digest = hashlib.sha256(f"{self.classes}{self.sample_rate}{self.group}".encode())
        for name, part in self.splits().items():
            digest.update(f"{name}{part.lengths.tolist()}{part.labels.tolist()}".encode())
            digest.update(f"{part.groups}{part.texts}".encode())
            for code in hashes(part):
                digest.update(code)
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        seconds = torch.cat([part.lengths for part in self.splits().values()]).double() / self.sample_rate
        sizes = torch.bincount(self.train.labels, minlength=len(self.classes))
        shown = ", ".join(self.classes[:12]) + (", ..." if len(self.classes) > 12 else "")
        lines = [
            f"{self.name}: {counts} clips of {seconds.min():.2g} to {seconds.max():.2g} seconds ({seconds.sum() / 60:.1f} minutes) at {self.sample_rate} Hz",
            f"{len(self.classes)} classes ({shown}); {int(sizes.min())} to {int(sizes.max())} training clips each",
        ]
        texts = sum(bool(text) for part in self.splits().values() for text in part.texts)
        if texts:
            lines.append(f"{counted(texts, 'clip has', 'clips have')} a text")
        seen = set(hashes(self.train))
        copies = {
            name: sum(code in seen for code in hashes(part))
            for name, part in self.splits().items()
            if name != "train"
        }
        if any(copies.values()):
            lines.append(
                f"warning: {copies['validation']} validation and {copies['test']} test clips are sample for sample in train too"
            )
        if self.group:
            trained = set(self.train.groups)
            shared = {
                name: sum(group in trained for group in part.groups)
                for name, part in self.splits().items()
                if name != "train"
            }
            if any(shared.values()):
                lines.append(
                    f"warning: {shared['validation']} validation and {shared['test']} test clips are of a {self.group} that "
                    "training hears, too"
                )
            else:
                lines.append(
                    f"{len(trained)} groups by {self.group} in train; none of them in validation or test"
                )
        return [*lines, *self.notes]


def hashes(clips: Clips) -> list[bytes]:
    """One short hash of each clip's samples."""
    samples = clips.samples.numpy()
    return [
        hashlib.blake2b(samples[start : start + length].tobytes(), digest_size=12).digest()
        for start, length in zip(clips.starts.tolist(), clips.lengths.tolist(), strict=True)
    ]
