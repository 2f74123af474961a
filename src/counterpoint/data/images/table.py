"""Images as they were found, row by row; files are opened at the size they will have, so that photographs fit in memory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.data.images.captions import Captions
from counterpoint.data.images.pixels import decode_frame, header_shape
from counterpoint.errors import CounterpointError, MissingExtra

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
        self.shapes.append(shape or (image.shape[0], image.shape[1]))
        self.names.append(name)
        self.captions.append(captions)
        self.labels.append(None if label is None or label == "" or label != label else str(label))
        self.splits.append(split)


@dataclass(frozen=True)
class Source:
    """An image that is not opened yet, with what its row says."""

    file: Path | io.BytesIO
    label: Any
    split: str | None
    name: str
    captions: Captions | None = None


def open_files(table: Table, sources: Sequence[Source], size: int | None) -> None:
    """Decode files into a table, each brought to its final size at once; those that cannot be read are named there.

    Args:
        table: gets the rows.
        sources: the files.
        size: pixels a side; None: chosen by the files' headers (``chosen_side``).
    """
    if size is None:
        shapes = [header_shape(source.file) for source in sources]
        size = chosen_side([shape for shape in shapes if shape is not None])
    table.size = size
    for source in sources:
        try:
            decoded = decode_frame(source.file, size)
        except MissingExtra:
            raise
        except Exception as error:
            reason = error if isinstance(error, CounterpointError) else type(error).__name__
            table.unreadable.append(f"{source.name} ({reason})")
            table.skipped.append(source.name)
            continue
        table.add(decoded.pixels, source.label, source.split, source.name, source.captions, decoded.shape)
        table.animated += decoded.animated


def chosen_side(shapes: Sequence[tuple[int, int]]) -> int | None:
    """Pixels a side for images for which nobody gave any; None where they are of one size and may keep it.

    >>> chosen_side([(28, 28)] * 3), chosen_side([(30, 40), (50, 40)]), chosen_side([(3000, 4000)])
    (None, 35, 64)
    """
    sides = [min(shape) for shape in shapes]
    if not sides or (len(set(shapes)) == 1 and sides[0] <= WHOLE):
        return None
    return min(LARGEST, int(np.median(sides)))
