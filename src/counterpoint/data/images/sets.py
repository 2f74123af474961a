"""Images once they are loaded: three splits of pixels and labels, with a second modality where there is one.

Pixels stay uint8 until a batch is used. A label of -1 means "not labelled": such images are trained on, never
evaluated on. Shapes: N images, C channels, H by W pixels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.images.captions import Captions, same
from counterpoint.data.images.decoding import taken
from counterpoint.data.images.split import UNLABELLED, hashes
from counterpoint.errors import counted

TEXT_ENCODER = "minilm-l6"


@dataclass(frozen=True)
class ImageBatch:
    """Some images and their labels: pixels_NCHW uint8, labels_N long; partners_NP floats where a second modality was given."""

    pixels: Tensor
    labels: Tensor
    partners: Tensor | None = None


@dataclass(frozen=True)
class ImageSet:
    """One split: ``len()`` and indexing by a LongTensor, as the Run's batches want it.

    ``captions`` holds what is said of each image; ``pairs.captions.with_partners`` makes ``partners`` of them.
    """

    pixels: Tensor
    labels: Tensor
    partners: Tensor | None = None
    captions: tuple[Captions, ...] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Tensor) -> ImageBatch:
        return ImageBatch(
            self.pixels[index], self.labels[index], None if self.partners is None else self.partners[index]
        )

    def subset(self, index: Tensor | np.ndarray) -> ImageSet:
        """Return the rows of ``index`` as a split of their own."""
        index = torch.as_tensor(index, dtype=torch.long)
        captions = None if self.captions is None else tuple(self.captions[row] for row in index.tolist())
        partners = None if self.partners is None else self.partners[index]
        return ImageSet(taken(self.pixels, index), self.labels[index], partners, captions)

    def labelled(self) -> ImageSet:
        """Return only the rows that have a label."""
        return self.subset(torch.nonzero(self.labels != UNLABELLED)[:, 0])

    def few(self, per_class: int, seed: int = 0) -> ImageSet:
        """Return ``per_class`` labelled images of every class (all of a smaller class), drawn with ``seed``."""
        generator = np.random.default_rng(seed)
        labels = self.labels.numpy()
        chosen = [
            generator.permutation(np.flatnonzero(labels == c))[:per_class]
            for c in np.unique(labels[labels >= 0])
        ]
        return self.subset(np.sort(np.concatenate(chosen)))


@dataclass(frozen=True)
class Images:
    """Three splits and what was understood about them.

    Attributes:
        labels_per_class: how many labels per class the evaluation may train its probe on; None means all of them.
        text_encoder: what makes vectors of captions, a bundled name or a folder.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    labels_per_class: int | None = None
    name: str = "images"
    text_encoder: str = TEXT_ENCODER

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.pixels.shape[1:]
        return int(channels), int(height), int(width)

    def splits(self) -> dict[str, ImageSet]:
        """Return the three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel of the training pixels, in [0, 1]."""
        step = max(1, len(self.train) // 10_000)
        sample = self.train.pixels[::step].double() / 255
        return sample.mean((0, 2, 3)).tolist(), sample.std((0, 2, 3)).clamp(min=1e-3).tolist()

    def fingerprint(self) -> str:
        """Sha256 of all pixels and labels in their splits."""
        digest = hashlib.sha256()
        for name, part in self.splits().items():
            digest.update(f"{name}{tuple(part.pixels.shape)}{self.classes}{self.labels_per_class}".encode())
            digest.update(part.pixels.contiguous().numpy().data)
            digest.update(part.labels.numpy().tobytes())
            if part.partners is not None:
                digest.update(part.partners.numpy().tobytes())
            if part.captions is not None:
                digest.update(repr((part.captions, self.text_encoder)).encode())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        channels, height, width = self.shape
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        lines = [f"{self.name}: {counts}; {height}x{width} pixels, {counted(channels, 'channel')}"]
        if self.classes:
            sizes = torch.bincount(self.train.labels[self.train.labels >= 0], minlength=len(self.classes))
            shown = ", ".join(self.classes[:12]) + (", ..." if len(self.classes) > 12 else "")
            lines.append(
                f"{len(self.classes)} classes ({shown}); {int(sizes.min())} to {int(sizes.max())} training images each"
            )
            bare = sum(int((part.labels == UNLABELLED).sum()) for part in self.splits().values())
            if bare:
                lines.append(f"{bare} images without a label: trained on, not evaluated on")
        else:
            lines.append("no labels: training works; accuracy cannot be measured, only geometry")
        if self.train.partners is not None:
            lines.append(f"every image has a partner, a vector of {self.train.partners.shape[1]} numbers")
            different = len(torch.unique(self.train.partners, dim=0))
            if different < len(self.train):
                lines.append(
                    f"warning: {len(self.train)} training images have {different} different partners; where equal ones meet in a batch they "
                    "are no negatives of one another (the setting mask_repeats)"
                )
        if self.train.captions is not None:
            lines.append(
                f"every image has a caption, such as '{self.train.captions[0][0]}'; {self.text_encoder} makes vectors of them when a "
                "method pairs images with captions"
            )
            train_texts = {text for captions in self.train.captions for text in same(captions)}
            both = [
                sum(not train_texts.isdisjoint(same(captions)) for captions in part.captions or ())
                for part in (self.validation, self.test)
            ]
            uses = Counter(text for captions in self.train.captions for text in set(same(captions)))
            sharing = sum(any(uses[text] > 1 for text in same(captions)) for captions in self.train.captions)
            if sharing:
                alike = Counter(frozenset(same(captions)) for captions in self.train.captions)
                partly = sum(
                    any(uses[text] > alike[frozenset(same(captions))] for text in same(captions))
                    for captions in self.train.captions
                )
                lines.append(
                    f"warning: {sharing} of {len(self.train)} training images share a caption with another; where such pairs meet in a batch "
                    "they are no negatives of one another (the setting mask_repeats)"
                    + (f", but for {partly} images that share only some of their captions" if partly else "")
                )
            if any(both):
                lines.append(
                    f"warning: {both[0]} validation and {both[1]} test images have a caption of train"
                )
        if self.labels_per_class is not None:
            lines.append(f"the probe sees {self.labels_per_class} labels per class")
        shared = overlap(self.train, self.validation), overlap(self.train, self.test)
        if any(shared):
            lines.append(
                f"warning: {shared[0]} validation and {shared[1]} test images are pixel-for-pixel in train too"
            )
        return [*lines, *self.notes]


def overlap(first: ImageSet, second: ImageSet) -> int:
    """Count the rows of ``second`` that occur pixel for pixel in ``first``."""
    seen = set(hashes(first.pixels))
    return sum(digest in seen for digest in hashes(second.pixels))
