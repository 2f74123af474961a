"""Image models as folders: the encoder's own files; a projector in ``projector/``, a classifier's heads in ``heads/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.models.folders import Folders
from counterpoint.models.images.classifier import Classified, Heads
from counterpoint.models.images.distilled import FromDistilled, open_distilled
from counterpoint.models.images.encoders import OWN, open_encoder
from counterpoint.models.images.paired import Paired
from counterpoint.models.images.projector import Projected, Projector


def save(model: nn.Module, folder: Path) -> None:
    """Write a model; of one whose projector is no ``Projector``, the encoder alone."""
    if isinstance(model, Projected) and not isinstance(model.projector, Projector):
        model = model.encoder
    FOLDERS.save(model, folder)


def _projected(folder: Path) -> Projected:
    return Projected(open_encoder(folder), Projector.from_pretrained(folder / "projector"))


def _paired(folder: Path) -> Paired:
    return Paired(_projected(folder), Projector.from_pretrained(folder / "partner"))


def _classified(folder: Path) -> Classified:
    return Classified(open_encoder(folder), Heads.from_pretrained(folder / "heads"))


def _from_distilled(folder: Path) -> FromDistilled:
    return FromDistilled(open_encoder(folder), open_distilled(folder))


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    for part, name in (("heads", "Classified"), ("partner", "Paired"), ("projector", "Projected")):
        if (folder / part).is_dir():
            return name
    return "TransformersVision" if "model_type" in content else str(content.get("architecture", ""))


FOLDERS = Folders(
    kind="images",
    openers={
        "Classified": _classified,
        "Projected": _projected,
        "Paired": _paired,
        "FromDistilled": _from_distilled,
        "TransformersVision": open_encoder,
        **dict.fromkeys(OWN, open_encoder),
    },
    unstated=_unstated,
    foreign=("TransformersVision",),
)
