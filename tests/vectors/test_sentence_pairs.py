"""Losses of sentence pairs, in value and gradient those of sentence-transformers (make_sentence_pairs.py)."""

from __future__ import annotations

from functools import partial

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.objectives.contrast.margins import row_triplet
from counterpoint.objectives.contrast.sentence_ranking import sentence_ranking
from counterpoint.objectives.labels.graded_pairs import cosent, cosine_error

SETTINGS = {"hard_negatives": {"temperature": 1 / 12.5}, "symmetric": {"symmetric": True}}


def loss_of(name: str, columns: list[Tensor], scores: Tensor | None) -> Tensor:
    if scores is not None:
        return {"cosent": cosent, "mse": cosine_error}[name](*columns, scores)
    if name.startswith("triplet"):
        return row_triplet(*columns, *((0.5, "cosine") if name == "triplet_cosine" else (1.0,)))
    hard = torch.stack(columns[2:], 1) if len(columns) > 2 else None
    return sentence_ranking(columns[0], columns[1], hard, **SETTINGS.get(name, {}))


def sentence_pairs(case: Case) -> Checks:
    def compare() -> None:
        columns = [each.requires_grad_() for each in case.tensor("columns").unbind()]
        value = loss_of(case.name, columns, case.optional("scores")).mean()
        # The library holds scores of its squared error, and the distances of its triplets, in float32.
        near = (
            {"rtol": 1e-6, "atol": 1e-7} if case.name in ("mse", "triplet") else {"rtol": 1e-9, "atol": 1e-12}
        )
        case.expect("loss", value, **near)
        case.expect("grad", torch.stack(torch.autograd.grad(value, columns)), **near)

    return {"loss": partial(compare)}


test_sentence_pairs = vector_tests({"sentence-pairs": sentence_pairs})
