"""Restylers as folders: config.json with the prompts and adapters, safetensors, grids of pictures beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.styles.one_step import open_one_step
from counterpoint.models.styles.restyler import Restyler


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    return "Restyler" if content.get("architecture") == "Restyler" else ""


FOLDERS = Folders(
    kind="styles",
    openers={"Restyler": Restyler.from_pretrained, "OneStepRestyler": open_one_step},
    unstated=_unstated,
)
