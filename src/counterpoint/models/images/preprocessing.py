"""What a vision model's folder says of preparing images: their side, mean and deviation. Loads no torch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger("counterpoint")


def recipe_of(folder: Path) -> dict[str, Any]:
    """What a folder says of preprocessing images, in the file of its own or in that of a processor; {} where it says nothing."""
    for name, inside in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            recipe = content.get(inside) if inside else content
            if isinstance(recipe, dict):
                return recipe
    return {}


def statistics(recipe: dict[str, Any], channels: int, folder: str | Path) -> tuple[list[float], list[float]]:
    """Mean and deviation by which images are normalised; where the folder does not say, one half, which is said."""
    if recipe.get("do_normalize", True) is False:
        return [0.0] * channels, [1.0] * channels
    missing = [name for name in ("image_mean", "image_std") if recipe.get(name) is None]
    if missing:
        logger.warning(
            "%s does not say how its images are normalised (%s in preprocessor_config.json): %s taken as 0.5; put the file beside "
            "config.json if the model was trained otherwise",
            folder, " and ".join(missing), "it is" if len(missing) == 1 else "they are",
        )  # fmt: skip
    half = [0.5] * channels
    mean, std = (recipe.get(name) or half for name in ("image_mean", "image_std"))
    return _each(mean, channels), _each(std, channels)


def _each(values: float | list[float], channels: int) -> list[float]:
    """A figure a channel, where one may be given for all."""
    return (
        [float(values)] * channels if isinstance(values, int | float) else [float(value) for value in values]
    )


def side(recipe: dict[str, Any]) -> int | None:
    """Pixels a side that a preprocessor makes: of its crop, else of its size."""
    for name in ("crop_size", "size"):
        given = recipe.get(name)
        if isinstance(given, dict):
            given = given.get("height") or given.get("shortest_edge")
        if isinstance(given, int):
            return given
    return None
