"""Images with optional labels, split once and for all into train, validation and test.

Pixels stay uint8 until a batch is used. A label of -1 means "not labelled": such images are trained on, never
evaluated on. Shapes: N images, C channels, H by W pixels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.image_files import Table, read
from counterpoint.data.partners import read_partners
from counterpoint.data.pixels import colour, resize
from counterpoint.errors import CounterpointError

BUNDLED = ("digits", "mnist5k", "mnist10k", "fashion-mnist")
UNLABELLED = -1


@dataclass(frozen=True)
class ImageBatch:
    """Some images and their labels: pixels_NCHW uint8, labels_N long; partners_NP floats where a second modality was given."""

    pixels: Tensor
    labels: Tensor
    partners: Tensor | None = None


@dataclass(frozen=True)
class ImageSet:
    """One split: ``len()`` and indexing by a LongTensor, as the Run's batches want it."""

    pixels: Tensor
    labels: Tensor
    partners: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Tensor) -> ImageBatch:
        return ImageBatch(
            self.pixels[index], self.labels[index], None if self.partners is None else self.partners[index]
        )

    def subset(self, index: Tensor | np.ndarray) -> ImageSet:
        """Return the rows of ``index`` as a split of their own."""
        index = torch.as_tensor(index, dtype=torch.long)
        return ImageSet(**vars(self[index]))

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
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    labels_per_class: int | None = None
    name: str = "images"

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
            digest.update(part.pixels.numpy().tobytes())
            digest.update(part.labels.numpy().tobytes())
            if part.partners is not None:
                digest.update(part.partners.numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> list[str]:
        """Say what was understood, one finding per line."""
        channels, height, width = self.shape
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.splits().items())
        lines = [f"{self.name}: {counts}; {height}x{width} pixels, {channels} channel{'s' * (channels > 1)}"]
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
        if self.labels_per_class is not None:
            lines.append(f"the probe sees {self.labels_per_class} labels per class")
        shared = overlap(self.train, self.validation), overlap(self.train, self.test)
        if any(shared):
            lines.append(
                f"warning: {shared[0]} validation and {shared[1]} test images are pixel-for-pixel in train too"
            )
        return [*lines, *self.notes]


def load_images(
    spec: str | Path,
    *,
    size: int | None = None,
    image: str | None = None,
    label: str | None = None,
    labels_per_class: int | None = None,
    limit: int | None = None,
    evaluation_limit: int | None = None,
    long_tail: float | None = None,
    partners: str | None = None,
    unreadable: str = "error",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> Images:
    """Load images from a bundled name or any container that ``image_files.read`` knows, and split them.

    Splits named by the files are kept. What is missing is cut from the training images, stratified by class, with
    pixel-for-pixel copies of an image kept on one side.

    Args:
        spec: one of ``BUNDLED``, or a path.
        size: side in pixels to bring every image to (shorter side resized, centre cropped); needed for mixed sizes.
        image: column or array of the images, when not a usual name.
        label: column or array of the labels, likewise.
        labels_per_class: labels per class that evaluation may use.
        limit: at most that many training images, stratified.
        evaluation_limit: at most that many images in validation and in test, stratified.
        long_tail: make the training classes unequal: each keeps this share of the one before it, in an order drawn with
            ``seed``; the first keeps as many as the smallest class has. Evaluation splits stay as they are.
        partners: a .npy file with one vector per image, in their order: a second modality for methods that pair.
        unreadable: "error", or "skip" to leave out files that cannot be opened (they are counted in the description).
        validation: share of all images cut for validation when the files name none.
        test: share of all images cut for test, likewise.
        seed: of the split and of the limits.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    spec = str(spec)
    path = _bundled(spec) if spec in BUNDLED and not Path(spec).exists() else Path(spec)
    table = read(path, image, label)
    notes = list(table.notes)
    if table.unreadable:
        message = f"{len(table.unreadable)} files are not readable images: {', '.join(table.unreadable[:3])}"
        if unreadable != "skip":
            raise CounterpointError(
                f"{spec}: {message}; mend or remove them, or leave them out with unreadable=skip"
            )
        notes.append(message + "; left out")
    if len(table.pixels) < 10:
        raise CounterpointError(
            f"{spec}: {len(table.pixels)} readable images; expected at least 10 (hundreds to learn anything)"
        )
    pixels = torch.from_numpy(same_size(table, size, spec, notes)).permute(0, 3, 1, 2).contiguous()
    classes, labels = _encode(table.labels, spec)
    if partners is not None and table.unreadable:
        raise CounterpointError(
            f"{spec}: partners belong to images row by row, so that none may be skipped; mend those files"
        )
    beside = None if partners is None else read_partners(partners, len(pixels), spec)
    everything = ImageSet(pixels, torch.from_numpy(labels), beside)
    parts = _split(everything, table.splits, validation, test, seed, spec, notes)
    if long_tail is not None:
        parts["train"] = _long_tail(labels, parts["train"], long_tail, seed, notes)
    limits = {"train": limit, "validation": evaluation_limit, "test": evaluation_limit}
    kept = {
        name: everything.subset(_stratified(labels, rows, limits[name], seed)) for name, rows in parts.items()
    }
    name = spec if spec in BUNDLED else Path(spec).name
    return Images(**kept, classes=classes, notes=tuple(notes), labels_per_class=labels_per_class, name=name)


def overlap(first: ImageSet, second: ImageSet) -> int:
    """Count the rows of ``second`` that occur pixel for pixel in ``first``."""
    seen = set(_hashes(first.pixels))
    return sum(found in seen for found in _hashes(second.pixels))


def _hashes(pixels: Tensor) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=12).digest() for row in pixels.numpy()]


def _bundled(name: str) -> Path:
    from counterpoint.data import bundled

    return bundled.path(name)


def same_size(table: Table, size: int | None, spec: str, notes: list[str]) -> np.ndarray:
    """Stack images to [N, H, W, C], brought to one size and as many channels as the most colourful has; says what it did in ``notes``."""
    channels = max(image.shape[2] for image in table.pixels)
    gray = sum(image.shape[2] < channels for image in table.pixels)
    if gray:
        notes.append(f"{gray} gray images were turned to colour like the rest")
    sizes = Counter(image.shape[:2] for image in table.pixels)
    if size is None and len(sizes) > 1:
        shown = ", ".join(f"{w}x{h} ({count})" for (h, w), count in sizes.most_common(3))
        raise CounterpointError(
            f"{spec}: images of {len(sizes)} sizes: {shown}; expected one size: bring them to one with size=64 (or another)"
        )
    if size is not None and set(sizes) != {(size, size)}:
        notes.append(f"resized to {size}x{size} (shorter side, then centre crop)")
        return np.stack([resize(colour(image, channels), size) for image in table.pixels])
    return np.stack([colour(image, channels) for image in table.pixels])


def _encode(labels: list[str | None], spec: str) -> tuple[tuple[str, ...], np.ndarray]:
    found = {label for label in labels if label is not None}
    if len(found) == 1:
        raise CounterpointError(
            f"{spec}: every labelled image is of the class '{found.pop()}'; expected at least two classes "
            "(class folders side by side), or no labels at all: point at the flat folder of images itself"
        )
    numbers = all(label.lstrip("-").isdigit() for label in found)
    classes = tuple(sorted(found, key=int if numbers else str))
    place = {label: number for number, label in enumerate(classes)}
    return classes, np.array(
        [UNLABELLED if label is None else place[label] for label in labels], dtype=np.int64
    )


def _split(
    images: ImageSet,
    named: list[str | None],
    validation: float,
    test: float,
    seed: int,
    spec: str,
    notes: list[str],
) -> dict[str, np.ndarray]:
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise CounterpointError(
            f"validation={validation}, test={test}; expected shares above 0 that leave some for training"
        )
    split = np.array([name or "train" for name in named])
    parts = {name: np.flatnonzero(split == name) for name in ("train", "validation", "test")}
    if not len(parts["train"]):
        raise CounterpointError(
            f"{spec}: no training images, only {sorted(set(split))}; expected a 'train' split"
        )
    shares = {
        name: share for name, share in (("validation", validation), ("test", test)) if not len(parts[name])
    }
    if not shares:
        return parts
    notes.append(f"{' and '.join(shares)} cut from the training images (stratified, seed {seed})")
    pool, labels = parts["train"], images.labels.numpy()
    # Copies of one image form a group and go where its first copy goes, or the evaluation would contain training images.
    first: dict[bytes, int] = {}
    leader = np.array(
        [
            first.setdefault(code, int(row))
            for row, code in zip(pool, _hashes(images.pixels[pool]), strict=True)
        ]
    )
    side = dict.fromkeys(np.unique(leader).tolist(), "train")
    generator = np.random.default_rng(seed)
    for label in np.unique(labels[leader]):
        rows = generator.permutation([row for row in side if labels[row] == label])
        start = 0
        for name, share in shares.items():
            # An unlabelled image is of no use to the evaluation; keep those for training unless nothing is labelled.
            number = round(share * len(rows)) if label != UNLABELLED or (labels == UNLABELLED).all() else 0
            side |= dict.fromkeys(rows[start : start + number].tolist(), name)
            start += number
    where = np.array([side[row] for row in leader.tolist()])
    parts |= {name: pool[where == name] for name in ("train", *shares)}
    for name, rows in parts.items():
        if not len(rows):
            raise CounterpointError(
                f"{spec}: too few images to cut a {name} split; give more images, or a '{name}' folder"
            )
    return parts


def _stratified(labels: np.ndarray, rows: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    if limit is None or limit >= len(rows):
        return rows
    if limit < 1:
        raise CounterpointError(f"limit={limit}; expected a positive number of images")
    order = np.random.default_rng(seed).permutation(rows)
    # Rank every image within its class; taking the lowest relative ranks keeps the classes' proportions.
    place = np.empty(len(order))
    for label in np.unique(labels[order]):
        mine = np.flatnonzero(labels[order] == label)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.sort(order[np.argsort(place, kind="stable")[:limit]])


def _long_tail(labels: np.ndarray, rows: np.ndarray, ratio: float, seed: int, notes: list[str]) -> np.ndarray:
    if not 0 < ratio <= 1:
        raise CounterpointError(
            f"long_tail={ratio}; expected the size of each class relative to the one before it, such as 0.6"
        )
    classes, sizes = np.unique(labels[rows][labels[rows] >= 0], return_counts=True)
    if len(classes) < 2:
        raise CounterpointError("long_tail needs labelled classes; leave it out for images without labels")
    generator = np.random.default_rng([seed, len(classes)])
    kept = [rows[labels[rows] < 0]]
    wanted = []
    for rank, label in enumerate(generator.permutation(classes)):
        wanted.append(max(1, round(int(sizes.min()) * ratio**rank)))
        kept.append(generator.permutation(rows[labels[rows] == label])[: wanted[-1]])
    notes.append(
        f"long tail: training classes of {wanted[0]} down to {wanted[-1]} images, order drawn with seed {seed}"
    )
    return np.sort(np.concatenate(kept))
