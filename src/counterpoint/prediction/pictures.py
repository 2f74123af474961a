"""What models that make pictures answer to prompts: a picture as PNG, in base64, which every kind of table can hold."""

from __future__ import annotations

import base64
import io
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.generation.pictures import CHUNK, pictures, way_of
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.prediction.predictor import Predictor, Row, Settings, names
from counterpoint.training.seeds import derive

COLUMNS = ("prompt", "caption", "label", "class")


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Pictures of a denoiser, in ``settings.steps`` steps or as many as its training drew at most."""
    assert isinstance(model, Denoiser)
    steps = settings.steps or max(way_of(model).steps)
    columns, passed = names(settings, COLUMNS), count()

    def read(row: Row) -> str:
        prompt = str(row.cell(columns, "prompt"))
        if model.text is None and prompt and prompt not in model.names:
            hint = (
                nearest(prompt, model.names)
                if model.names
                else "this model reads no prompts: leave them empty"
            )
            raise CounterpointError(f"{row.where}: no prompt '{prompt}'; {hint}")
        return prompt

    def answer(prompts: list[str]) -> list[dict[str, Any]]:
        # every pass has noise of its own: the same seed and rows at once give the same pictures
        seed = derive(settings.seed, "predict", next(passed)) % 2**31
        drawn = pictures(model, prompts, steps=steps, seed=seed)
        return [{"prompt": prompt, "png": encoded(pixels)} for prompt, pixels in zip(prompts, drawn)]

    example = f'["{model.names[0]}"]' if model.names else '["a red kite"]' if model.text_dim else '[""]'
    return Predictor(
        what="pictures",
        plain="prompt",
        read=read,
        answer=answer,
        size=CHUNK,
        columns=columns,
        example=example,
    )


def encoded(pixels: Tensor) -> str:
    """[C, H, W] uint8 as PNG, in base64.

    Raises:
        MissingExtra: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images") from None
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
