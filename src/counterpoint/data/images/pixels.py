"""Pixels of single images and of stacks: decoding, ranges, channels, sizes. uint8 [H, W, C] throughout."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from counterpoint.errors import CounterpointError, MissingExtra, counted


def decode(file: Path | io.BytesIO) -> np.ndarray:
    """Decode an image file to uint8 [H, W, C] as it is meant to be seen.

    It is turned as its EXIF orientation says; gray stays one channel, 16 bits a pixel become 8, transparency is laid on
    white, and of an animation the first frame is taken.

    Raises:
        MissingExtra: pillow is not installed.
    """
    return decode_frame(file).pixels


class Decoded(NamedTuple):
    """uint8 [H, W, C], the height and width in the file, and whether it holds more frames than the first, which was taken."""

    pixels: np.ndarray
    shape: tuple[int, int]
    animated: bool


class Header(NamedTuple):
    """Height and width as the picture is meant to be seen, and whether it has one channel."""

    shape: tuple[int, int]
    gray: bool


def header(file: Path | io.BytesIO) -> Header | None:
    """What a file's header says alone; None where it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as opened:
                one = opened.mode in ("1", "L", "I", "F") or opened.mode.startswith("I;16")
                return Header(
                    _shape(opened), one and not (opened.mode in ("1", "L") and "transparency" in opened.info)
                )
    except Exception:  # decoding says what is wrong with it
        return None


def header_shape(file: Path | io.BytesIO) -> tuple[int, int] | None:
    """Height and width by a file's header alone, as it is meant to be seen; None where it cannot be read."""
    read = header(file)
    return None if read is None else read.shape


def _shape(opened: Any) -> tuple[int, int]:
    width, height = opened.size
    return (width, height) if _orientation(opened) >= 5 else (height, width)


def decode_frame(file: Path | io.BytesIO, size: int | None = None) -> Decoded:
    """As ``decode``, brought to ``size`` pixels a side where one is given (``resize``).

    A photograph is then decoded at a fraction of its size, at least twice the wanted one, where its format can (JPEG).
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images") from None
    # What pillow warns of, damaged EXIF or many pixels, either leaves the picture whole or ends in an error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _decoded(Image, file, size)


def _decoded(library: Any, file: Path | io.BytesIO, size: int | None) -> Decoded:
    with library.open(file) as opened:
        shape = _shape(opened)
        if size is not None:
            factor = 2 * size / min(shape)
            opened.draft(None, (math.ceil(opened.size[0] * factor), math.ceil(opened.size[1] * factor)))
        # Phones write a preview or a depth map as a second frame of a still photograph (MPO).
        animated = bool(getattr(opened, "is_animated", False)) and opened.format != "MPO"
        pixels = _array(_upright(opened), opened.format, str(file))
    if size is not None and pixels.shape[:2] != (size, size):
        pixels = resize(pixels, size)
    return Decoded(pixels, shape, animated)


def _array(picture: Any, format: str | None, name: str) -> np.ndarray:
    """uint8 [H, W, C] of a picture of any mode."""
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode == "I" and format == "PNG"):
        # Sixteen bits are sixteen bits, also where a picture is dark.
        return np.rint(np.asarray(picture, dtype=np.float64).clip(0, 65535) / 257).astype(np.uint8)[..., None]
    if picture.mode in ("I", "F"):
        return unit_to_bytes(np.asarray(picture, dtype=np.float64)[..., None], name)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[..., None]
    return np.asarray(picture.convert("RGB"))


def _upright(opened: Any) -> Any:
    """The picture turned as its EXIF orientation says; as it is where that cannot be read."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(opened) if _orientation(opened) > 1 else opened


def _orientation(opened: Any) -> int:
    """As EXIF has it, 1 to 8; 1 where it says nothing."""
    try:
        orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # a damaged block of EXIF says nothing of the pixels, which may be whole
        return 1
    return orientation if orientation in range(2, 9) else 1


def unit_to_bytes(values: np.ndarray, name: str) -> np.ndarray:
    """Bring floats in [0, 1] or any integers in [0, 255] or [0, 65535] to uint8; NaN and negatives are errors.

    >>> unit_to_bytes(np.array([[[0.0, 0.5, 1.0]]]), "x").tolist()
    [[[0, 128, 255]]]
    """
    if values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all():
        bad = (
            sorted({int(row) for row in np.argwhere(~np.isfinite(values))[:, 0]}) if values.ndim > 3 else [0]
        )
        raise CounterpointError(
            f"{name}: {counted(len(bad), 'image holds', 'images hold')} NaN or infinite values (rows {bad[:5]}); remove those rows: x[np.isfinite(x).all((1, 2))]"
        )
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 65535:
        raise CounterpointError(
            f"{name}: values from {low:g} to {high:g}; expected pixels in 0..1 (floats) or 0..255 (integers): undo the normalisation"
        )
    if 255 < high < 4096:
        raise CounterpointError(
            f"{name}: values from {low:g} to {high:g}, too large for 0..255, and nearly black if they are of sixteen bits; clip them to 255, "
            f"or scale what is white to 65535 (x * {65535 / high:.4g})"
        )
    whole = np.issubdtype(values.dtype, np.integer) or high > 1
    top = 1 if not whole else 255 if high <= 255 else 65535
    return np.rint(np.asarray(values, dtype=np.float64) * (255 / top)).astype(np.uint8)


def stack(array: np.ndarray, name: str) -> np.ndarray:
    """Bring an array of images to uint8 [N, H, W, C]; rows of H * W pixels, channels first and floats are understood."""
    if array.ndim == 2 and int(array.shape[1] ** 0.5) ** 2 == array.shape[1]:
        side = int(array.shape[1] ** 0.5)
        array = array.reshape(-1, side, side)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[-1] not in (1, 3) and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise CounterpointError(
            f"{name}: an array of shape {list(array.shape)}; expected [N, H, W], [N, H, W, 3] or [N, 3, H, W]"
        )
    return unit_to_bytes(array, name)


def colour(image: np.ndarray, channels: int) -> np.ndarray:
    """Repeat a gray image [H, W, 1] to ``channels``."""
    return image if image.shape[2] == channels else np.repeat(image, channels, axis=2)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize the shorter side of [H, W, C] to ``size`` and cut the centre.

    Raises:
        MissingExtra: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images") from None
    height, width = image.shape[:2]
    factor = size / min(height, width)
    target = max(size, round(width * factor)), max(size, round(height * factor))
    resized = np.asarray(
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).resize(
            target, Image.Resampling.BICUBIC
        )
    )
    top, left = (target[1] - size) // 2, (target[0] - size) // 2
    return resized.reshape(target[1], target[0], -1)[top : top + size, left : left + size]
