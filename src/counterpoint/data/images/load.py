"""Loads images with optional labels and captions, and splits them once and for all into train, validation and test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.images.captions import LEAVE_OUT, Captions, beside, read_captions, same
from counterpoint.data.images.files import read
from counterpoint.data.images.opening import Opening
from counterpoint.data.images.partners import read_partners
from counterpoint.data.images.pixels import colour, resize
from counterpoint.data.images.sets import TEXT_ENCODER, ImageBatch, Images, ImageSet, overlap
from counterpoint.data.images.split import (
    UNLABELLED,
    hashes,
    long_tail_rows,
    mislabelled_labels,
    split_rows,
    stratified,
)
from counterpoint.data.images.table import Table, chosen_side
from counterpoint.data.nested import split_seeds
from counterpoint.data.tables import Rows
from counterpoint.data.tables.cells import class_order, near_twins
from counterpoint.errors import CounterpointError, counted

__all__ = [
    "BUNDLED",
    "TEXT_ENCODER",
    "UNLABELLED",
    "ImageBatch",
    "ImageSet",
    "Images",
    "load_images",
    "overlap",
    "same_size",
]

BUNDLED = ("digits", "mnist5k", "mnist10k", "fashion-mnist", "emoji")


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
    mislabelled: float = 0.0,
    partners: str | None = None,
    captions: str | None = None,
    caption: str | None = None,
    text_encoder: str = TEXT_ENCODER,
    unreadable: str = "error",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
    workers: int = 0,
    rows: Rows = "auto",
) -> Images:
    """Load images from a bundled name or any container that ``image_files.read`` knows, and split them.

    Splits named by the files are kept. What is missing is cut from the training images, stratified by class, with
    pixel-for-pixel copies of an image, and images of one caption, kept on one side.

    Args:
        spec: one of ``BUNDLED``, or a path.
        size: side in pixels to bring every image to (shorter side resized, centre cropped); where none is given, the median, at
            most 64, is chosen for mixed sizes, and 64 for photographs of one size (beyond 512).
        image: column or array of the images, when not a usual name.
        label: column or array of the labels, likewise.
        labels_per_class: labels per class that evaluation may use.
        limit: at most that many training images, stratified.
        evaluation_limit: at most that many images in validation and in test, stratified.
        long_tail: make the training classes unequal: each keeps this share of the one before it, in an order drawn with
            ``seed``; the first keeps as many as the smallest class has. Evaluation splits stay as they are.
        mislabelled: which share of the labels that training sees is replaced by another class, to study wrong labels.
        partners: a .npy file with one vector per image, in their order: a second modality for methods that pair.
        captions: a file with an image's name and a caption per row (columns file and caption; .csv, .tsv, .jsonl, .parquet), or
            "none". ``captions.csv`` and its kin among the images, and a column ``caption`` in a table of images, are found.
        caption: the column of captions, when it is called otherwise.
        text_encoder: what makes vectors of captions for methods that pair: "minilm-l6", or a folder of your own encoder.
        unreadable: "error", or "skip" to leave out files that cannot be opened (they are counted in the description).
        validation: share of all images cut for validation when the files name none.
        test: share of all images cut for test, likewise.
        seed: of the split and of the limits.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.
        workers: processes that decode files; the pixels are the same from any number.
        rows: where pixels are held: in "memory", or on "disk", decoded into the cache once and mapped into memory; "auto" leaves
            half a gigabyte and more of them on disk.

    Raises:
        CounterpointError: with what was found, what was expected and the call that works.
    """
    spec = str(spec)
    path = _bundled(spec) if spec in BUNDLED and not Path(spec).exists() else Path(spec)
    captions_file = beside(path, captions)
    if captions is not None and partners is not None and captions != LEAVE_OUT:
        raise CounterpointError(
            f"captions={captions} and partners={partners}; give captions, or vectors made of them"
        )
    wanted = captions != LEAVE_OUT and partners is None
    table = read(
        path,
        image if captions_file is None else None,
        label,
        caption,
        captioned=wanted and captions_file is None,
        opening=Opening(size, workers, rows),
    )
    notes = list(table.notes)
    if table.unreadable:
        message = f"{counted(len(table.unreadable), 'file is no readable image', 'files are not readable images')}: {', '.join(table.unreadable)}"
        if unreadable != "skip":
            raise CounterpointError(
                f"{spec}: {message}; mend or remove them, or leave them out with --data-option unreadable=skip"
            )
        notes.append(message + "; left out")
    if table.animated:
        notes.append(
            f"{counted(table.animated, 'file holds', 'files hold')} several frames (animations, pages); the first was taken"
        )
    if len(table) < 10:
        raise CounterpointError(
            f"{spec}: {len(table)} readable images; expected at least 10 (hundreds to learn anything)"
        )
    pixels = table.stored
    if pixels is None:
        pixels = torch.from_numpy(same_size(table, size, spec, notes)).permute(0, 3, 1, 2).contiguous()
    else:
        resized(table, size, notes)
    classes, labels = _encode(table.labels, spec)
    notes += near_twins(classes)
    if partners is not None and table.unreadable:
        raise CounterpointError(
            f"{spec}: partners belong to images row by row, so that none may be skipped; mend those files"
        )
    vectors = None if partners is None else read_partners(partners, len(pixels), spec)
    image_captions = _captions(table, captions_file if wanted else None, image, caption, spec)
    everything = ImageSet(pixels, torch.from_numpy(labels), vectors, image_captions)
    together = [
        [code, *same(image_captions[row] if image_captions else ())]
        for row, code in enumerate(hashes(pixels))
    ]
    parts = split_rows(
        labels, together, table.splits, validation, test, seed, spec, notes, split_seeds(untested)
    )
    if long_tail is not None:
        parts["train"] = long_tail_rows(labels, parts["train"], long_tail, seed, notes)
    limits = {"train": limit, "validation": evaluation_limit, "test": evaluation_limit}
    subsets = {
        name: everything.subset(stratified(labels, rows, limits[name], seed)) for name, rows in parts.items()
    }
    if mislabelled:
        part = subsets["train"]
        wrong = mislabelled_labels(part.labels.numpy(), mislabelled, seed, notes)
        subsets["train"] = replace(part, labels=torch.from_numpy(wrong))
    name = spec if spec in BUNDLED else Path(spec).name
    return Images(
        **subsets,
        classes=classes,
        notes=tuple(notes),
        labels_per_class=labels_per_class,
        name=name,
        text_encoder=text_encoder,
    )


def _captions(
    table: Table, captions_file: Path | None, image: str | None, caption: str | None, spec: str
) -> tuple[Captions, ...] | None:
    """Every image's captions: from a file of captions, from a column of the images' own table, or none."""
    if captions_file is not None:
        if not any(table.names):
            raise CounterpointError(
                f"{spec}: {captions_file.name} names image files and these images are arrays; give vectors row by row: --data-option partners=captions.npy"
            )
        return tuple(read_captions(captions_file, table.names, table.skipped, image, caption))
    given = [captions for captions in table.captions if captions is not None]
    if caption is not None and not given:
        raise CounterpointError(
            f"{spec}: no column '{caption}' of captions beside the images; expected one, or a file captions.csv"
        )
    if given and len(given) < len(table.captions):
        without = counted(len(table.captions) - len(given), "image has", "images have")
        raise CounterpointError(
            f"{spec}: {without} no column of captions and the others have; mend that, or leave "
            "captions out: --data-option captions=none"
        )
    return tuple(given) or None


def _bundled(name: str) -> Path:
    from counterpoint.bundled.convert import data as bundled

    return bundled.path(name)


def same_size(table: Table, size: int | None, spec: str, notes: list[str]) -> np.ndarray:
    """Stack images to [N, H, W, C], brought to one size and as many channels as the most colourful has; says what it did in ``notes``."""
    channels = max(image.shape[2] for image in table.pixels)
    gray = sum(image.shape[2] < channels for image in table.pixels)
    if gray:
        notes.append(f"{gray} gray images were turned to colour like the rest")
    chosen = resized(table, size, notes)
    if chosen is None:
        return np.stack([colour(image, channels) for image in table.pixels])
    return np.stack(
        [
            colour(image if image.shape[:2] == (chosen, chosen) else resize(image, chosen), channels)
            for image in table.pixels
        ]
    )


def resized(table: Table, size: int | None, notes: list[str]) -> int | None:
    """Pixels a side that images are brought to, None where they keep their size; says so in ``notes``."""
    sizes = Counter(table.shapes)
    chosen = size or table.size or chosen_side(table.shapes)
    if size is None and chosen is not None:
        shown = ", ".join(f"{w}x{h} ({count})" for (h, w), count in sizes.most_common(3))
        many = f"{len(sizes)} sizes: {shown}" if len(sizes) > 1 else f"the size {shown}"
        notes.append(f"images of {many}; {chosen} pixels chosen, another with --data-option size=N")
    if chosen is not None and set(sizes) != {(chosen, chosen)}:
        notes.append(f"resized to {chosen}x{chosen} (shorter side, then centre crop)")
    return chosen


def _encode(labels: list[str | None], spec: str) -> tuple[tuple[str, ...], np.ndarray]:
    present = {label for label in labels if label is not None}
    if len(present) == 1:
        raise CounterpointError(
            f"{spec}: every labelled image is of the class '{present.pop()}'; expected at least two classes "
            "(class folders side by side), or no labels at all: point at the flat folder of images itself"
        )
    classes = class_order(present)
    index_of = {label: number for number, label in enumerate(classes)}
    return classes, np.array(
        [UNLABELLED if label is None else index_of[label] for label in labels], dtype=np.int64
    )
