"""Pixels of single images and of stacks: decoding, ranges, channels, sizes. uint8 [H, W, C] throughout."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.errors import CounterpointError, MissingExtra


def decode(file: Path | io.BytesIO) -> np.ndarray:
    """Decode an image file to uint8 [H, W, C] as it is meant to be seen.

    It is turned as its EXIF orientation says; gray stays one channel, 16 bits a pixel become 8, transparency is laid on
    white, and of an animation the first frame is taken.

    Raises:
        MissingExtra: pillow is not installed.
    """
    return decode_frame(file)[0]


def decode_frame(file: Path | io.BytesIO) -> tuple[np.ndarray, bool]:
    """As ``decode``, and whether the file holds more frames than the first, which was taken."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images") from None
    with Image.open(file) as opened:
        # Phones write a preview or a depth map as a second frame of a still photograph (MPO).
        animated = bool(getattr(opened, "is_animated", False)) and opened.format != "MPO"
        return _array(_upright(opened), opened.format, str(file)), animated


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

    try:
        orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # a damaged block of EXIF says nothing of the pixels, which may be whole
        return opened
    return ImageOps.exif_transpose(opened) if orientation in range(2, 9) else opened


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
            f"{name}: {len(bad)} images hold NaN or infinite values (rows {bad[:5]}); remove those rows: x[np.isfinite(x).all((1, 2))]"
        )
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 65535:
        raise CounterpointError(
            f"{name}: values from {low:g} to {high:g}; expected pixels in 0..1 (floats) or 0..255 (integers): undo the normalisation"
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
    resized = np.asarray(Image.fromarray(image.squeeze()).resize(target, Image.Resampling.BICUBIC))
    top, left = (target[1] - size) // 2, (target[0] - size) // 2
    return resized.reshape(target[1], target[0], -1)[top : top + size, left : left + size]
