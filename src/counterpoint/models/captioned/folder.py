"""Models of captioned images as folders: transformers' own for two towers, ordinary ones of this package for denoisers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.captioned.clip import open_towers
from counterpoint.models.captioned.denoiser import CaptionDenoiser
from counterpoint.models.folders import Folders


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if content.get("model_type") == "clip" and "CLIPModel" in (content.get("architectures") or ()):
        return "TwoTowers"
    return "CaptionDenoiser" if content.get("architecture") == "CaptionDenoiser" else ""


FOLDERS = Folders(
    kind="captioned",
    openers={"TwoTowers": open_towers, "CaptionDenoiser": CaptionDenoiser.from_pretrained},
    unstated=_unstated,
    foreign=("TwoTowers",),
)
