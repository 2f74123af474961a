"""Sentence encoders as folders: transformers' own, with the files of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.folders import Folders
from counterpoint.models.sentence_pairs.encoder import MODULES, open_sentence_encoder


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    return "SentenceEncoder" if "model_type" in content or (folder / MODULES).is_file() else ""


FOLDERS = Folders(
    kind="sentence-pairs", openers={"SentenceEncoder": open_sentence_encoder}, unstated=_unstated
)
