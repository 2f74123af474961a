"""Counterparts of VC-STaR: every matrix, counterpart and difficulty of the vectors, which were made from the paper's equations."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests

from counterpoint.pairs.counterparts.matching import (
    Counterparts,
    counterparts,
    difficulty,
    distances,
    valid_pairs,
)

EXACT = {"rtol": 0.0}
DISTANCES = {"rtol": 0.0, "atol": 1e-10}


def vc_star(case: Case) -> Checks:
    return {"distances": lambda: matrices(case), "counterparts": lambda: chosen(case)}


def matrices(case: Case) -> None:
    images, questions = case.tensor("image_embedding"), case.tensor("question_embedding")
    visual, question = distances(images, images), distances(questions, questions)
    case.expect("visual_distance", visual, **DISTANCES)
    case.expect("question_distance", question, **DISTANCES)
    valid = valid_pairs(
        visual, question, 0, case.tensor("dataset_id"), case.tensor("image_id"),
        visual_limit_N=case.tensor("phi_v_per_sample"), question_limit=case.number("phi_q"),
    )  # fmt: skip
    case.expect("valid_pair", valid, **EXACT)


def mined(case: Case) -> Counterparts:
    return counterparts(
        case.tensor("image_embedding"), case.tensor("question_embedding"), case.tensor("dataset_id"),
        case.tensor("image_id"), case.tensor("answer_id"),
        visual_limit_N=case.tensor("phi_v_per_sample"), question_limit=case.number("phi_q"),
    )  # fmt: skip


def chosen(case: Case) -> None:
    found = mined(case)
    case.expect("counterpart", found.index, **EXACT)
    case.expect("pair_is_positive", found.positive, **EXACT)
    levels = difficulty(case.tensor("correct_alone"), case.tensor("correct_with_contrast"))
    case.expect("difficulty", levels, **EXACT)
    case.expect("kept", (found.index >= 0) & (levels == 1), **EXACT)
    assert torch.equal(found.valid, case.tensor("valid_pair").sum(1))


test_counterparts = vector_tests({"vc-star": vc_star})
