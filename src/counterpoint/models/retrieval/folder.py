"""Encoders of the kind "retrieval" as folders: a causal language model's own, and what says how texts are shown to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.retrieval.embedder import FILE, load


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    return "Embedder" if (folder / FILE).is_file() else ""


FOLDERS = Folders(kind="retrieval", openers={"Embedder": load}, unstated=_unstated)
