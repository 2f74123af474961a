"""Speech models as folders: the encoder's own files; a classifier's head in ``head/``, one of intents in ``intents/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.models.audio.classifier import SpeechClassifier, SpeechHead
from counterpoint.models.audio.pretrained import open_encoder
from counterpoint.models.audio.understanding import FOLDER, Understanding, load_head
from counterpoint.models.folders import Folders, configuration

FOREIGN = ("WaveSpeech", "WhisperSpeech")


def _classifier(folder: Path, seconds: float | None = None) -> SpeechClassifier:
    return SpeechClassifier(open_encoder(folder, seconds), SpeechHead.from_pretrained(folder / "head"))


def _understanding(folder: Path, seconds: float | None = None) -> Understanding:
    return load_head(open_encoder(folder, seconds), folder)


def _unstated(folder: Path, content: Mapping[str, Any]) -> str:
    if (folder / FOLDER).is_dir():
        return "Understanding"
    if configuration(folder / "head").get("architecture") == "SpeechHead":
        return "SpeechClassifier"
    return FOREIGN[0] if "model_type" in content else str(content.get("architecture", ""))


FOLDERS = Folders(
    kind="audio",
    openers={
        "SpeechClassifier": _classifier,
        "Understanding": _understanding,
        **dict.fromkeys(("SmallSpeech", *FOREIGN), open_encoder),
    },
    unstated=_unstated,
    foreign=FOREIGN,
)
"""How speech models are opened; ``seconds``, the longest clip, is an option of all."""
