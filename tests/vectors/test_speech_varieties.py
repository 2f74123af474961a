"""Vectors of speech-varieties: pooling, classifier and each contrastive term together, to 1e-9; and macro F1."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from harness import Case, Checks, vector_tests

from counterpoint.evaluation.speech import macro_f1
from counterpoint.models.audio.encoder import masked_mean
from counterpoint.objectives.labels.class_contrast import class_contrast
from counterpoint.objectives.reduction import Loss, total

TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}
CONSTANTS = {
    "supcon": ("temperature",),
    "triplet": ("margin",),
    "multi_similarity": ("alpha", "beta", "base"),
}


def check(case: Case, name: str) -> None:
    hidden = case.tensor("hidden", grad=True)
    weight, bias = case.tensor("W", grad=True), case.tensor("b", grad=True)
    labels = case.tensor("labels")
    vectors = masked_mean(hidden, case.tensor("mask").bool())
    terms: dict[str, Any] = {
        "label": torch.nn.functional.cross_entropy(vectors @ weight.T + bias, labels, reduction="none")
    }
    contrast: Any = 0.0
    if name != "ce_only":
        constants = {key: case.number(f"{name}/{key}") for key in CONSTANTS[name]}
        term = class_contrast(name.replace("_", "-"), vectors, labels, **constants)  # type: ignore[arg-type]
        terms["contrast"] = Loss(term.values, term.counts, weight=case.number("lambda"))
        contrast = term.mean()
    loss = total(terms)
    loss.backward()
    case.expect(f"{name}/loss", loss, **TOLERANCE)
    case.expect(f"{name}/contrastive", contrast, **TOLERANCE)
    for key, leaf in (("hidden", hidden), ("W", weight), ("b", bias)):
        case.expect(f"{name}/grad_{key}", leaf.grad, **TOLERANCE)
    assert not hidden.grad[~case.tensor("mask").bool()].any()  # type: ignore[index]


def figures(case: Case) -> None:
    truth, said = case.array("y_true"), case.array("y_pred")
    case.expect("macro_f1", macro_f1(truth, said, len({*truth, *said})), **TOLERANCE)
    case.expect("accuracy", float((truth == said).mean()), **TOLERANCE)


def speech_varieties(case: Case) -> Checks:
    if "y_true" in case:
        return {"figures": partial(figures, case)}
    return {name: partial(check, case, name) for name in case.losses()}


test_speech_varieties = vector_tests({"speech-varieties": speech_varieties})
