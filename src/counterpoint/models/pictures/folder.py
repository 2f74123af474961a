"""Denoisers as folders: config.json with the prompts and the sampling, safetensors, grids of pictures beside them.

No pipeline of diffusers has a network with two times; the folder is an ordinary one of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.pictures.dit import DiT


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    return "DiT" if content.get("architecture") == "DiT" else ""


FOLDERS = Folders(kind="pictures", openers={"DiT": DiT.from_pretrained}, unstated=_unstated)
