"""Audio: labelled clips to classify; how often they are recognised, and how the classes lie in the representation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from counterpoint.data.audio.load import Audio, load_audio
from counterpoint.errors import CounterpointError
from counterpoint.evaluation import speech, understanding
from counterpoint.evaluation.measurement import measured
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.pretrained import load_speech_encoder
from counterpoint.models.audio.understanding import FOLDER, load_head
from counterpoint.tasks.facts import Facts, imbalance_of, rows_of
from counterpoint.tasks.options import checked_load
from counterpoint.training.report import Report

DEFAULTS = {"sample_rate": 8000, "group": "prompt"}
"""How the bundled voices are read unless one says otherwise: at their own rate, and no prompt on two sides."""

LABELS = {"voices": "voice", "voices-it": "speaker", "voices-en": "family"}
"""Which column of the bundled voices is the label unless one says otherwise."""

FAMILIES = "vm,digits,letters,conf,phonetic,spy,dir,queue,dictate,demo"
"""Families with prompts enough for three splits; the others of "voices-en" have one or two."""


class AudioTask:
    """The kind "audio": see ``data.audio.load_audio`` for the options of ``load_data``."""

    kind = "audio"
    primary = "macro_f1"
    default_model = "conv-speech"
    lower_is_better = ("cross_entropy", "wer", "average_wer", "forgetting")
    measurements = (*speech.MEASUREMENTS, *understanding.MEASUREMENTS)

    def load_data(self, spec: str, **options: Any) -> Audio:
        """Load a bundled name or a path; options as values or as text."""
        if spec in LABELS and not Path(spec).exists():
            label = options.get("label", LABELS[spec])
            classes = {"classes": FAMILIES} if (spec, label) == ("voices-en", "family") else {}
            options = {**DEFAULTS, "label": label, **classes, **options}
        return checked_load(load_audio, spec, options, "audio")

    def facts(self, data: Audio) -> Facts:
        """What advice on methods may rest on."""
        sizes = data.train.labels.bincount().tolist()
        rows = rows_of(data.train)
        return Facts(self.kind, rows, rows, sum(size > 0 for size in sizes), imbalance_of(sizes))

    def load_model(self, spec: str, data: Audio, seed: int) -> nn.Module:
        """Build "conv-speech", fetch "whisper-tiny-en", or open a folder; a folder with a head comes back with it."""
        encoder = load_speech_encoder(spec, data.sample_rate, seed, data.seconds)
        if (Path(spec) / FOLDER).is_dir():
            return load_head(encoder, Path(spec), data.classes)
        head = Path(spec) / "head"
        return SpeechClassifier.open(encoder, head, data.classes) if head.is_dir() else encoder

    def save_model(self, model: nn.Module, folder: Path | str) -> None:
        """Write the encoder as an ordinary folder, a classifier's head to ``head/`` and one of intents to ``intents/`` inside."""
        folder = Path(folder)
        if not hasattr(model, "save_pretrained"):
            raise CounterpointError(
                f"{type(model).__name__} has no save_pretrained; derive it from huggingface_hub.PyTorchModelHubMixin"
            )
        model.save_pretrained(folder)  # type: ignore[operator]

    def evaluate(self, model: nn.Module, data: Audio, split: str, seed: int = 0) -> dict[str, float]:
        """Measure answers and vectors; see ``evaluation.speech``, and ``evaluation.understanding``."""
        return measured(self.measurements, model, data, split, seed)

    def of_training(self, report: Report, data: Audio, split: str) -> dict[str, float]:
        """Of a training in stages: average and last accuracies, forgetting, the average word error rate."""
        return understanding.stage_figures(report.rows("stages"), split)


TASK = AudioTask()
