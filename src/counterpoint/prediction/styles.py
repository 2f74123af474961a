"""What a restyler makes of pictures: a picture as PNG, in base64, in the form of its own.

A picture is turned as its EXIF says, laid on white where it is transparent, and brought to the size that the model learnt from by its shorter side;
nothing is cut off.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.endings import PICTURES
from counterpoint.data.images.files import PATH_COLUMNS
from counterpoint.data.images.pixels import decode_frame, stack
from counterpoint.errors import CounterpointError, MissingExtra, UnusableRow, nearest
from counterpoint.generation.restyling import DOMAINS, restyled
from counterpoint.models.styles.generator import Generator
from counterpoint.prediction.images import file_of, in_channels
from counterpoint.prediction.pictures import encoded
from counterpoint.prediction.predictor import Predictor, Row, Settings, names


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Pictures restyled towards ``settings.towards``."""
    assert isinstance(model, Generator)
    if settings.towards not in DOMAINS:
        raise CounterpointError(f"towards={settings.towards}; {nearest(settings.towards, DOMAINS)}")
    channels, side = model.shape[0], min(model.shape[1:])
    columns = names(settings, (*PATH_COLUMNS, "pixels"))

    def read(row: Row) -> np.ndarray:
        value = row.cell(columns, "picture")
        try:
            file = file_of(value, row)
            if file is None:
                return in_channels(_sized(stack(np.asarray(value)[None], row.where)[0], side), channels)
            if isinstance(file, io.BytesIO):
                file.seek(0)
            return in_channels(_sized(decode_frame(file, None).pixels, side), channels)
        except (CounterpointError, MissingExtra):
            raise
        except Exception as error:  # whatever a decoder says of a damaged file
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UnusableRow(f"{row.where}: not a readable picture ({reason}); mend or remove it") from None

    def answer(pictures: list[np.ndarray]) -> list[dict[str, Any]]:
        return [
            {"towards": settings.towards, "png": encoded(each)}
            for each in _restyled(model, pictures, settings)
        ]

    return Predictor(
        what="pictures",
        plain=PATH_COLUMNS[1],
        read=read,
        answer=answer,
        size=32,
        columns=columns,
        endings=PICTURES,
        example='"picture.png"',
    )


def _restyled(model: Generator, pictures: list[np.ndarray], settings: Settings) -> list[Tensor]:
    """Each picture in its own form, those of one form together."""
    made: list[Tensor] = [torch.empty(0)] * len(pictures)
    for shape in {picture.shape for picture in pictures}:
        rows = [row for row, picture in enumerate(pictures) if picture.shape == shape]
        pixels = torch.from_numpy(np.stack([pictures[row] for row in rows]).transpose(0, 3, 1, 2).copy())
        for row, picture in zip(rows, restyled(model, pixels, settings.towards), strict=True):
            made[row] = picture
    return made


def _sized(pixels: np.ndarray, side: int) -> np.ndarray:
    """[H, W, C] with a shorter side of ``side``, whole."""
    height, width = pixels.shape[:2]
    if min(height, width) == side:
        return pixels
    from PIL import Image

    factor = side / min(height, width)
    target = max(side, round(width * factor)), max(side, round(height * factor))
    given = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(given.resize(target, Image.Resampling.BICUBIC)).reshape(target[1], target[0], -1)
