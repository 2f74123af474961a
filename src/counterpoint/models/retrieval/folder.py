"""Encoders of the kind "retrieval" as folders: a language model's own, causal or masked, and what says how texts are shown to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.retrieval import embedder, sparse


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if (folder / embedder.FILE).is_file():
        return "Embedder"
    return "SparseRetriever" if (folder / sparse.FILE).is_file() else ""


FOLDERS = Folders(
    kind="retrieval",
    openers={"Embedder": embedder.load, "SparseRetriever": sparse.load},
    unstated=_unstated,
)
