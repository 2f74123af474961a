"""The case of speech-varieties: telephone speakers recognised from few clips, and languages on speakers outside the training clips."""

from __future__ import annotations

from typing import Any

from counterpoint.study.case import Arm, Case, Claim

RATES = {"learning_rate": [3e-4, 1e-3, 3e-3]}
CLIPS = {"seconds": 2.0, "per_class": 10}
LANGUAGES = {**CLIPS, "label": "language", "classes": "it,es,fr"}
OTHERS = {**LANGUAGES, "held_out": "speaker=menardi,jimenez,armelle"}
SWAPPED = {**LANGUAGES, "held_out": "speaker=carlo,allison,june"}
SILENCE = {**CLIPS, "seconds": 0.1, "part": "quiet"}


def arm(method: str = "speech-varieties", **settings: Any) -> Arm:
    """A form of the training with its learning rate chosen on validation."""
    return Arm(method=method, settings=settings, tune=RATES)


def on(data_options: dict[str, Any], **settings: Any) -> Arm:
    """Other data, at the default rate: cross-entropy without a contrast, else speech varieties."""
    method = "speech-varieties" if settings else "audio-classifier"
    return Arm(method=method, settings=settings, tune={}, data_options=data_options)


CASE = Case(
    key="speech-varieties",
    data="voices",
    data_options=CLIPS,
    budget={"steps": 100},
    seeds=10,
    trials=3,
    baseline="cross-entropy",
    arms={
        "cross-entropy": arm("audio-classifier"),
        "supcon, then cross-entropy": arm(contrast="supcon", use="pretraining"),
        "with supcon": arm(contrast="supcon"),
        "with triplets": arm(contrast="triplet"),
        "with multi-similarity": arm(contrast="multi-similarity"),
        "with mined multi-similarity": arm(contrast="multi-similarity+miner"),
        "new speakers: cross-entropy": on(OTHERS),
        "new speakers: with multi-similarity": on(OTHERS, contrast="multi-similarity"),
        "new speakers, swapped: cross-entropy": on(SWAPPED),
        "new speakers, swapped: with multi-similarity": on(SWAPPED, contrast="multi-similarity"),
        "no speech: cross-entropy": on(SILENCE),
    },
    metrics=("macro_f1", "accuracy", "silhouette", "nearest_accuracy"),
    claims=(
        Claim.better(
            "multi-similarity beside cross-entropy tells voices apart better than cross-entropy alone",
            "with multi-similarity",
            "cross-entropy",
        ),
        Claim.better(
            "and SupCon beside it does",
            "with supcon",
            "cross-entropy",
        ),
        Claim.better(
            "multi-similarity beside cross-entropy separates the classes' vectors further",
            "with multi-similarity",
            "cross-entropy",
            metric="silhouette",
        ),
        Claim.better(
            "SupCon beside cross-entropy is better than SupCon before it, within one budget",
            "with supcon",
            "supcon, then cross-entropy",
        ),
        Claim.better(
            "with speakers never heard in training, multi-similarity tells three languages apart better than cross-entropy alone",
            "new speakers: with multi-similarity",
            "new speakers: cross-entropy",
        ),
        Claim(
            text="cross-entropy alone tells three languages of speakers never heard apart better than guessing (macro F1 of 1/3)",
            contrast={"new speakers: cross-entropy": 1.0},
            above=1 / 3,
        ),
        Claim(
            text="without speech the voices are told apart better than by guessing (macro F1 of 1/8): part of every figure is the "
            "recording",
            contrast={"no speech: cross-entropy": 1.0},
            above=1 / 8,
        ),
    ),
    notes=(
        "eight voices, ten training clips each of at most two seconds, no prompt on two sides; one speaker per voice, so this "
        "measures voice and variety together (one speaker reads both US English and Mexican Spanish)",
        "new speakers: Italian, Spanish and French, one speaker of each in training and another in the test, then swapped; the "
        "test's prompts are the training's, too. With one voice per language a model can learn the voice instead of the language",
        "no speech: the quietest tenth of a second of each clip",
        "an encoder of 190 thousand weights from nothing; the paper fine-tunes 300 million on an atlas of Italian dialects",
    ),
)
