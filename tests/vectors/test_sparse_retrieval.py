"""disco: its program's loss with every term, pooling and gradients; the fusion of teachers and the baseline of equal vectors."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.kernels.vocabulary.peaks import saturated_peak
from counterpoint.objectives.contrast.noise_contrast import infonce
from counterpoint.objectives.distillation.candidate_scores import (
    fused_scores,
    margin_error,
    score_distillation,
)
from counterpoint.objectives.distillation.matching import feature_distance
from counterpoint.objectives.sparsity import flops, l1_norm, not_all_zero, rising_weight

WEIGHTS = {
    "kldiv": {"kldiv": 1.0},
    "kldiv_contrastive_with_weights": {"kldiv": 0.99, "contrastive": 0.01},
    "kldiv_contrastive_without_weights": {"kldiv": 1.0, "contrastive": 1.0},
    "kldiv_mse_margin_with_weights": {"kldiv": 0.99, "mse_margin": 0.05},
    "kldiv_mse_margin_without_weights": {"kldiv": 1.0, "mse_margin": 1.0},
    "contrastive": {"contrastive": 1.0},
    "contrastive_with_weights": {"contrastive": 0.01},
}
"""What the program's names of losses weigh."""


def loss(case: Case) -> Checks:
    def terms(queries: Tensor, docs: Tensor) -> dict[str, Tensor]:
        scores = torch.einsum("bv,bnv->bn", queries, docs)
        against = queries @ docs[:, 1:].flatten(0, 1).T
        teacher = case.tensor("teacher_scores")
        return {
            "student_scores": scores,
            "kldiv": score_distillation(scores, teacher).mean(),
            "contrastive": infonce(scores[:, 0], against).mean(),
            "mse_margin": margin_error(scores, teacher).mean(),
            "flops": flops(docs.flatten(0, 1)).mean(),
            "l1": l1_norm(queries).mean(),
            "anti_zero": not_all_zero(queries).mean() + not_all_zero(docs.flatten(0, 1)).mean(),
        }

    def values() -> None:
        queries, docs = case.tensor("queries", grad=True), case.tensor("docs", grad=True)
        each = terms(queries, docs)
        for name, value in each.items():
            case.expect(name, value, rtol=1e-8)
        step = int(case.number("step_before")) + 1
        lambdas = {
            side: rising_weight(case.number(f"lambda_{side}"), step, int(case.number(f"T_{side}")))
            for side in "dq"
        }
        for side, value in lambdas.items():
            case.expect(f"lambda_{side}_t", value, rtol=1e-8)
        total = sum(weight * each[name] for name, weight in WEIGHTS[case.text("loss_name")].items())
        total = total + lambdas["q"] * each["l1"] + lambdas["d"] * each["flops"] + each["anti_zero"]
        case.expect("loss", total, rtol=1e-8)
        total.backward()
        case.expect("grad_queries", queries.grad, rtol=1e-8, atol=1e-14)
        case.expect("grad_docs", docs.grad, rtol=1e-8, atol=1e-14)

    return {"values": values}


def pooling(case: Case) -> Checks:
    def values() -> None:
        logits = case.tensor("logits", grad=True)
        vectors = saturated_peak(logits, case.tensor("mask"))
        case.expect("rep", vectors, rtol=1e-10)
        (vectors * case.tensor("cotangent")).sum().backward()
        case.expect("grad_logits", logits.grad, rtol=1e-10, atol=1e-15)

    def through_a_head() -> None:
        """The same with the logits as hidden states before a head that changes nothing."""
        from counterpoint.kernels.scores import Head

        hidden = case.tensor("logits", grad=True)
        head = Head(hidden, torch.eye(hidden.shape[-1], dtype=hidden.dtype))
        vectors = saturated_peak(head, case.tensor("mask"))
        case.expect("rep", vectors, rtol=1e-10)
        (vectors * case.tensor("cotangent")).sum().backward()
        case.expect("grad_logits", hidden.grad, rtol=1e-10, atol=1e-15)

    return {"values": values, "head": through_a_head}


def fusion(case: Case) -> Checks:
    def values() -> None:
        student = case.tensor("student_scores", grad=True)
        fused = fused_scores(case.tensor("teacher_scores"))
        case.expect("fused", fused, rtol=1e-9)
        loss = score_distillation(student, fused).mean()
        case.expect("kl", loss, rtol=1e-9)
        loss.backward()
        case.expect("grad_student_scores", student.grad, rtol=1e-9, atol=1e-14)

    def vectors() -> None:
        student = case.tensor("convdr_student_rep", grad=True)
        loss = feature_distance(student, case.tensor("convdr_teacher_rep")).mean()
        case.expect("convdr_mse", loss, rtol=1e-9)
        loss.backward()
        case.expect("convdr_grad", student.grad, rtol=1e-9, atol=1e-14)

    return {"values": values, "vectors": vectors}


test_sparse_retrieval = vector_tests({"disco": loss, "disco_splade": pooling, "disco_fusion": fusion})
