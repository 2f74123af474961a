"""Audio: labelled clips to classify; how often they are recognised, and how the classes lie in the representation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from counterpoint.data.audio.load import Audio, load_audio
from counterpoint.evaluation import speech, understanding
from counterpoint.evaluation.measurement import measured
from counterpoint.models.audio.folder import FOLDERS
from counterpoint.models.audio.pretrained import check_rate, load_speech_encoder
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

    def reading(self, data: Audio) -> dict[str, Any]:
        """How long a clip may be."""
        return {"kind": "audio", "seconds": data.seconds}

    def load_model(self, spec: str, data: Audio, seed: int) -> nn.Module:
        """Build "conv-speech", fetch "whisper-tiny-en", or open a folder; a folder with a head comes back with it."""
        folder = Path(spec)
        if not (folder / "config.json").exists():
            return load_speech_encoder(spec, data.sample_rate, seed, data.seconds)
        model = FOLDERS.open(folder, seconds=data.seconds)
        check_rate(model, data.sample_rate, spec)
        for_classes = getattr(model, "for_classes", None)  # of a model that has a head
        return model if for_classes is None else cast(nn.Module, for_classes(data.classes, folder))

    def save_model(self, model: nn.Module, folder: Path | str) -> None:
        """Write the encoder as an ordinary folder, a classifier's head to ``head/`` and one of intents to ``intents/`` inside."""
        FOLDERS.save(model, Path(folder))

    def evaluate(self, model: nn.Module, data: Audio, split: str, seed: int = 0) -> dict[str, float]:
        """Measure answers and vectors; see ``evaluation.speech``, and ``evaluation.understanding``."""
        return measured(self.measurements, model, data, split, seed)

    def of_training(self, report: Report, data: Audio, split: str) -> dict[str, float]:
        """Of a training in stages: average and last accuracies, forgetting, the average word error rate."""
        return understanding.stage_figures(report.rows("stages"), split)


TASK = AudioTask()
