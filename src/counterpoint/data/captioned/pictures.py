"""Where a row's image is, and how single images are opened at the size of the others. Shapes: uint8 [C, H, W]."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.endings import PICTURES
from counterpoint.data.images.pixels import colour, decode, resize
from counterpoint.data.walk import follow
from counterpoint.errors import CounterpointError, MissingExtra, data_option

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""


def located(cell: Any, base: Path, images: str | None, where: str) -> tuple[str, Path | io.BytesIO]:
    """The name of an image and what opens it.

    Args:
        cell: a name below ``base``, below ``images`` or ``base / "images"``, also without its ending; or {"bytes", "path"}.
        where: the row, for messages.

    Raises:
        CounterpointError: nothing given, or no such file.
    """
    if isinstance(cell, dict):
        content = cell.get("bytes")
        if content:
            return str(cell.get("path") or hashlib.sha256(content).hexdigest()[:16]), io.BytesIO(content)
        cell = cell.get("path")
    if cell is None or str(cell).strip() == "":
        raise CounterpointError(f"{where}: no image; name one, or remove the row")
    name = str(cell).replace("\\", "/")
    folders = [Path(images)] if images is not None else [base, base / "images"]
    for folder in folders:
        for ending in ("", *PICTURES):
            file = follow(folder, name + ending)
            if file.is_file():
                return name, file
    shown = " nor below ".join(str(folder) for folder in folders)
    raise CounterpointError(
        f"{where}: no image '{name}' below {shown}; mend the name, or give the folder: {data_option('images', 'FOLDER')}"
    )


def opened(
    file: Path | io.BytesIO, shape: tuple[int, int, int], where: str, box: Box | None = None
) -> Tensor:
    """[C, H, W] uint8: the image, or the box in it, as the training images are.

    Raises:
        CounterpointError: an unreadable file, a box outside of it, a colour image beside gray ones, or a size that cannot be had.
    """
    channels, height, width = shape
    try:
        pixels = decode(file)
    except MissingExtra:
        raise
    except Exception as error:
        raise CounterpointError(
            f"{where}: the image cannot be read ({type(error).__name__}); mend it, or remove the row"
        ) from None
    if box is not None:
        left, top, wide, high = box
        pixels = pixels[max(top, 0) : top + high, max(left, 0) : left + wide]
        if not pixels.size:
            raise CounterpointError(
                f"{where}: the box {box} (left, top, width, height) lies outside of the image; mend it, or remove the row"
            )
    if pixels.shape[2] > channels:
        raise CounterpointError(
            f"{where}: an image in colour, and the training images are gray; turn it gray, or train on images in colour"
        )
    if pixels.shape[:2] != (height, width):
        if height != width:
            raise CounterpointError(
                f"{where}: an image of {pixels.shape[0]}x{pixels.shape[1]} pixels, and the training images have {height}x{width}; bring all to "
                f"one side: {data_option('size', max(height, width))}"
            )
        pixels = resize(pixels, height)
    return torch.from_numpy(np.ascontiguousarray(colour(pixels, channels).transpose(2, 0, 1)))
