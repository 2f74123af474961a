"""Images as they were found, row by row; files are opened at the size they will have, so that photographs fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoint.data.images.captions import Captions
from counterpoint.data.images.opening import ImageFile, Opening
from counterpoint.data.images.pixels import Header
from counterpoint.data.tables.read import LARGE

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 64
"""Pixels a side that images of mixed sizes are brought to at most, where no size is given: what small encoders take."""
WHOLE = 512
"""Pixels of the shorter side up to which images of one size keep it; beyond, they are photographs."""


@dataclass
class Table:
    """Images, a row each.

    Attributes:
        pixels: one uint8 array [H, W, C] per row, C in {1, 3}; sizes may still differ.
        shapes: the height and width that each had in its file.
        size: pixels a side that files were brought to as they were opened; None where they were left as they are.
        labels: the label as text, None for an image without one.
        splits: "train", "validation" or "test" where the files say so, else None.
        names: the path below the folder, "" where there are no files.
        captions: what a column of captions says of the image, else None.
        notes: what a person should know about how the files were understood.
        unreadable: files that could not be opened, each with the reason; ``skipped``: their names alone.
        animated: how many files hold several frames, of which the first was taken.
        stored: [N, C, H, W], the pixels of all rows in their final size where they stay on disk, in place of ``pixels``.
    """

    pixels: list[np.ndarray] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
    size: int | None = None
    labels: list[str | None] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    captions: list[Captions | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    animated: int = 0
    stored: Tensor | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def add(
        self,
        image: np.ndarray,
        label: Any,
        split: str | None,
        name: str = "",
        captions: Captions | None = None,
        shape: tuple[int, int] | None = None,
    ) -> None:
        """Append one row; an empty label means none, and no ``shape`` that the image has the one of its file."""
        self.pixels.append(image)
        self.describe(label, split, name, captions, shape or (image.shape[0], image.shape[1]))

    def describe(
        self, label: Any, split: str | None, name: str, captions: Captions | None, shape: tuple[int, int]
    ) -> None:
        """Append what is to be read of a row besides its pixels."""
        self.shapes.append(shape)
        self.names.append(name)
        self.captions.append(captions)
        self.labels.append(None if label is None or label == "" or label != label else str(label))
        self.splits.append(split)


@dataclass(frozen=True)
class Source:
    """An image that is not opened yet, with what its row says."""

    file: ImageFile
    label: Any
    split: str | None
    name: str
    captions: Captions | None = None


def open_files(table: Table, sources: Sequence[Source], opening: Opening) -> None:
    """Decode files into a table, each brought to its final size at once; those that cannot be read are named there.

    Args:
        table: gets the rows; where pixels stay on disk, as ``stored``.
        sources: the files.
        opening: how. Without a size it is chosen by the files' headers (``chosen_side``).
    """
    from counterpoint.data.images.decoding import decoded, headers, stored_pixels, taken

    files = [source.file for source in sources]
    if opening.shapes_only:
        for source, head in zip(sources, headers(files, opening.workers), strict=True):
            if head is not None:  # the others are named once they are decoded
                table.describe(source.label, source.split, source.name, source.captions, head.shape)
        return
    size, heads = opening.size, None
    if size is None or opening.rows != "memory":
        heads = list(headers(files, opening.workers))
    if size is None and heads is not None:
        size = chosen_side([head.shape for head in heads if head is not None])
    table.size = size
    opening = replace(opening, size=size)
    if heads is not None and not table.pixels and _on_disk(heads, opening):
        read = stored_pixels(files, heads, opening)
        table.stored = read.pixels
        table.animated += read.animated
        if read.reasons:
            whole = [number for number in range(len(files)) if number not in read.reasons]
            table.stored = taken(read.pixels, whole)
        for number, source in enumerate(sources):
            if number in read.reasons:
                table.unreadable.append(f"{source.name} ({_reason(source, read.reasons[number])})")
                table.skipped.append(source.name)
                continue
            height, width = read.shapes[number].tolist()
            table.describe(source.label, source.split, source.name, source.captions, (height, width))
        return
    for source, each in zip(sources, decoded(files, size, opening.workers), strict=True):
        if isinstance(each, str):
            table.unreadable.append(f"{source.name} ({_reason(source, each)})")
            table.skipped.append(source.name)
            continue
        table.add(each.pixels, source.label, source.split, source.name, source.captions, each.shape)
        table.animated += each.animated


def _reason(source: Source, reason: str) -> str:
    """Why a file cannot be read; an address is none."""
    return (
        "an address; fetch it into a file first"
        if "://" in source.name and "FileNotFound" in reason
        else reason
    )


def _on_disk(heads: Sequence[Header | None], opening: Opening) -> bool:
    """Whether pixels stay on disk."""
    shapes = [head.shape for head in heads if head is not None]
    side = opening.size or (max(max(shape) for shape in shapes) if shapes else 1)
    return opening.rows == "disk" or (opening.rows == "auto" and len(heads) * side * side * 3 >= LARGE)


def chosen_side(shapes: Sequence[tuple[int, int]]) -> int | None:
    """Pixels a side for images for which nobody gave any; None where they are of one size and may keep it.

    >>> chosen_side([(28, 28)] * 3), chosen_side([(30, 40), (50, 40)]), chosen_side([(3000, 4000)])
    (None, 35, 64)
    """
    sides = [min(shape) for shape in shapes]
    if not sides or (len(set(shapes)) == 1 and sides[0] <= WHOLE):
        return None
    return min(LARGEST, int(np.median(sides)))
