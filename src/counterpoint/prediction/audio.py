"""What speech models say of recordings: label or intent with probabilities, transcript, or an encoder's embedding.

A recording is mixed down to one channel, brought to the model's rate, and cut where training cut (``reading.json``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.data.audio.clips import Clips
from counterpoint.data.audio.files import FILE_COLUMNS, Listed, read, resample
from counterpoint.data.endings import SOUNDS
from counterpoint.data.walk import follow
from counterpoint.errors import CounterpointError, UnusableRow
from counterpoint.evaluation.speech import vectors
from counterpoint.evaluation.understanding import understand
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.understanding import Understanding
from counterpoint.models.model_folders import reading
from counterpoint.prediction.predictor import (
    Predictor,
    Row,
    Settings,
    embeddings,
    labels,
    names,
)

SECONDS = 30.0
"""How much of a recording is heard where the model's folder does not say."""


def predictor(model: nn.Module, folder: Path, settings: Settings) -> Predictor:
    """Labels of a classifier, intents (and transcripts, of one that decodes) of an understanding model, else embeddings."""
    rate = int(model.sample_rate)  # type: ignore[arg-type]
    seconds = _seconds(model, folder, rate)
    notes: list[str] = []

    def waves(row: Row) -> np.ndarray:
        wave, cut = _wave(row.cell(names(settings, FILE_COLUMNS), "recording"), row, rate, seconds)
        note = f"recordings longer than {seconds:g} seconds were cut there, as in training"
        if cut and note not in notes:
            notes.append(note)
        return wave

    def answer(given: list[np.ndarray]) -> list[dict[str, Any]]:
        clips = _clips(given)
        if isinstance(model, Understanding):
            answers = understand(model, clips, transcribe=model.head.decodes)
            assert answers.scores is not None
            rows = [
                {"intent": one["label"], "probabilities": one["probabilities"]}
                for one in labels(answers.scores.softmax(1), model.classes)
            ]
            texts = answers.texts
            return rows if texts is None else [{**row, "text": text} for row, text in zip(rows, texts)]
        states, scores = vectors(model, clips)
        if isinstance(model, SpeechClassifier):
            assert scores is not None
            return labels(scores.softmax(1), model.classes)
        return embeddings(states)

    what = {"Understanding": "intents", "SpeechClassifier": "labels"}.get(type(model).__name__, "embeddings")
    return Predictor(
        what=what,
        plain=FILE_COLUMNS[0],
        read=waves,
        answer=answer,
        size=32,
        columns=names(settings, FILE_COLUMNS),
        endings=SOUNDS,
        example='"recording.wav"',
        notes=notes,
    )


def _seconds(model: nn.Module, folder: Path, rate: int) -> float:
    encoder: Any = getattr(model, "encoder", model)
    own = getattr(encoder, "longest", None)  # of what pads every clip to one length
    seconds = float(reading(folder).get("seconds", SECONDS))
    return min(seconds, own / rate) if isinstance(own, int) else seconds


def _wave(value: Any, row: Row, rate: int, seconds: float) -> tuple[np.ndarray, bool]:
    """int16 samples, and whether the recording was longer."""
    if isinstance(value, dict) and value.get("array") is not None:
        value, own = np.asarray(value["array"], dtype=np.float32), int(value.get("sampling_rate") or rate)
        return _samples(resample(_one_channel(value), own, rate), row, round(seconds * rate))
    if isinstance(value, np.ndarray | Tensor):
        wave = _one_channel(np.asarray(value, dtype=np.float32))
        return _samples(wave, row, round(seconds * rate))
    content = value.get("bytes") if isinstance(value, dict) else value if isinstance(value, bytes) else None
    if content:
        suffix = Path(str(value.get("path") or "")).suffix if isinstance(value, dict) else ""
        with tempfile.TemporaryDirectory() as folder:  # decoders look at a file's name, too
            path = Path(folder) / f"recording{suffix or '.wav'}"
            path.write_bytes(content)
            return _of_file(path, row, rate, seconds)
    name = str(value.get("path") if isinstance(value, dict) else value)
    path = follow(row.folder, name)
    if not path.is_file():
        raise UnusableRow(f"{row.where}: there is no file '{name}'; mend or remove the row")
    return _of_file(path, row, rate, seconds)


def _of_file(path: Path, row: Row, rate: int, seconds: float) -> tuple[np.ndarray, bool]:
    clips = read([Listed(path, {}, None)], rate, seconds)
    if clips.unreadable:
        reason = clips.unreadable[0].removeprefix(str(path)).strip()
        raise UnusableRow(f"{row.where}: not a readable recording {reason}; mend or remove it")
    return clips.waves[0], bool(clips.cut)


def _one_channel(wave: np.ndarray) -> np.ndarray:
    return wave if wave.ndim == 1 else wave.mean(int(np.argmin(wave.shape)))


def _samples(wave: np.ndarray, row: Row, longest: int) -> tuple[np.ndarray, bool]:
    if wave.ndim != 1 or not len(wave) or not np.isfinite(wave).all():
        raise CounterpointError(
            f"{row.where}: expected samples in [-1, 1], one channel or several, none of them NaN"
        )
    return np.clip(np.round(wave[:longest] * 32767), -32768, 32767).astype(np.int16), len(wave) > longest


def _clips(waves: list[np.ndarray]) -> Clips:
    lengths = torch.tensor([len(wave) for wave in waves])
    blank = ("",) * len(waves)
    return Clips(
        samples=torch.from_numpy(np.concatenate(waves)),
        starts=lengths.cumsum(0) - lengths,
        lengths=lengths,
        labels=torch.zeros(len(waves), dtype=torch.long),
        groups=blank,
        texts=blank,
        files=blank,
    )
