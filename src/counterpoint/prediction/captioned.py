"""What two towers answer to images: the image's vector, which those of captions are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from counterpoint.data.endings import PICTURES
from counterpoint.data.images.files import PATH_COLUMNS
from counterpoint.evaluation.pictures.captioned import image_vectors
from counterpoint.models.captioned.clip import TwoTowers
from counterpoint.prediction.images import grouped, reader
from counterpoint.prediction.predictor import Predictor, Settings, embeddings, names


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Vectors of length 1."""
    assert isinstance(model, TwoTowers)

    def answer(pictures: list[np.ndarray]) -> list[dict[str, Any]]:
        return embeddings(grouped(pictures, lambda pixels: image_vectors(model, pixels)))

    return Predictor(
        what="embeddings",
        plain=PATH_COLUMNS[1],
        read=reader(folder, settings),
        answer=answer,
        size=64,
        columns=names(settings, PATH_COLUMNS),
        endings=PICTURES,
        example='"picture.png"',
    )
