"""What image models say of pictures: a classifier's label with probabilities, an encoder's embedding.

A picture is brought to the side and the channels that the model learnt from (``reading.json``), as the loader of images did.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.endings import PICTURES
from counterpoint.data.images.files import PATH_COLUMNS
from counterpoint.data.images.pixels import colour, decode_frame, header_shape, stack
from counterpoint.data.walk import follow
from counterpoint.errors import CounterpointError, MissingExtra, UnusableRow
from counterpoint.evaluation.classification import class_logits
from counterpoint.evaluation.features import features
from counterpoint.models.images.classifier import Classified
from counterpoint.models.model_folders import reading
from counterpoint.prediction.predictor import (
    Predictor,
    Row,
    Settings,
    embeddings,
    labels,
    names,
)


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Labels of a ``Classified``, embeddings of any other encoder of images."""

    def answer(pictures: list[np.ndarray]) -> list[dict[str, Any]]:
        if isinstance(model, Classified):
            probabilities = grouped(pictures, lambda pixels: class_logits(model, pixels)).softmax(1)
            return labels(probabilities, model.heads.classes)
        return embeddings(grouped(pictures, lambda pixels: features(model, pixels)))

    return Predictor(
        what="labels" if isinstance(model, Classified) else "embeddings",
        plain=PATH_COLUMNS[1],
        read=reader(folder, settings),
        answer=answer,
        size=64,
        columns=names(settings, PATH_COLUMNS),
        endings=PICTURES,
        example='"picture.png"',
    )


def reader(folder: Path, settings: Settings) -> Callable[[Row], np.ndarray]:
    """What turns a row into uint8 [H, W, C] as a model of this folder learnt from: a file, its bytes, or pixels."""
    shape = reading(folder).get("shape")
    columns = names(settings, (*PATH_COLUMNS, "pixels"))
    wanted = None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2]))

    def read(row: Row) -> np.ndarray:
        value = row.cell(columns, "picture")
        try:
            return _pixels(value, row, wanted)
        except (CounterpointError, MissingExtra):
            raise
        except Exception as error:  # whatever a decoder says of a damaged file
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UnusableRow(f"{row.where}: not a readable picture ({reason}); mend or remove it") from None

    return read


def grouped(pictures: list[np.ndarray], run: Callable[[Tensor], Tensor]) -> Tensor:
    """[N, F] of a model run over pictures of whatever sizes, those of one size together."""
    at: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        at.setdefault(picture.shape, []).append(number)
    parts = []
    for rows in at.values():
        pixels = torch.from_numpy(np.stack([pictures[row] for row in rows]).transpose(0, 3, 1, 2).copy())
        parts.append(run(pixels))
    order = torch.tensor([row for rows in at.values() for row in rows])
    return torch.cat(parts)[torch.argsort(order)]


def _pixels(value: Any, row: Row, wanted: tuple[int, int, int] | None) -> np.ndarray:
    side = wanted[1] if wanted is not None and wanted[1] == wanted[2] else None
    file = file_of(value, row)
    if file is None:
        pixels = stack(np.asarray(value)[None], row.where)[0]
        if side is not None and pixels.shape[:2] != (side, side):
            from counterpoint.data.images.pixels import resize

            pixels = resize(pixels, side)
    else:
        fits = wanted is not None and header_shape(file) == wanted[1:]
        if isinstance(file, io.BytesIO):
            file.seek(0)
        pixels = decode_frame(file, None if fits else side).pixels
    if wanted is None:
        return pixels
    if pixels.shape[:2] != wanted[1:]:
        height, width = pixels.shape[:2]
        raise CounterpointError(
            f"{row.where}: {width} by {height} pixels, and the model learnt from {wanted[2]} by {wanted[1]}; bring the picture to that size"
        )
    return in_channels(pixels, wanted[0])


def file_of(value: Any, row: Row) -> Path | io.BytesIO | None:
    """The file that a cell names or holds; None for pixels."""
    if isinstance(value, dict):
        if value.get("bytes"):
            return io.BytesIO(value["bytes"])
        value = value.get("path")
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if isinstance(value, str | Path):
        path = follow(row.folder, str(value))
        if not path.is_file():
            raise UnusableRow(f"{row.where}: there is no file '{value}'; mend or remove the row")
        return path
    return None


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """[H, W, C] as gray or colour, as a model reads it."""
    if channels == 1 and pixels.shape[2] == 3:
        from PIL import Image

        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return colour(pixels, channels)
