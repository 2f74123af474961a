"""Models of numeric targets as folders: the encoder's own files, of rows or of images, and a head in ``head/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.models.folders import Folders, configuration
from counterpoint.models.images.encoders import OWN, open_encoder
from counterpoint.models.regression.kernel_rows import KernelRows
from counterpoint.models.regression.tabular import Predictor, TableEncoder


def _encoder(folder: Path) -> nn.Module:
    content = configuration(folder)
    if content.get("architecture") == "KernelRows":
        return KernelRows.from_pretrained(folder)
    return TableEncoder.from_pretrained(folder) if "columns" in content else open_encoder(folder)


def _predictor(folder: Path) -> Predictor:
    return Predictor(_encoder(folder)).load_head(folder / "head")


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if configuration(folder / "head").get("architecture") == "Predictor":
        return "Predictor"
    if "columns" in content:
        return str(content.get("architecture", "TableEncoder"))
    return "TransformersVision" if "model_type" in content else str(content.get("architecture", ""))


FOLDERS = Folders(
    kind="regression",
    openers={
        "Predictor": _predictor,
        "TableEncoder": _encoder,
        "KernelRows": _encoder,
        **dict.fromkeys(("TransformersVision", *OWN), open_encoder),
    },
    unstated=_unstated,
    foreign=("TransformersVision",),
)
