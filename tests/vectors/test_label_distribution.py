"""PU distillation's scores, label distributions and losses against loops over the (reconstructed) equations."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.judges.agreement import best_and_worst
from counterpoint.judges.rated import expected_rating
from counterpoint.objectives.preference.advantage import EPSILON
from counterpoint.objectives.preference.label_distribution import (
    distribution_advantages,
    label_distribution,
    listwise,
)
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.policy import policy_gradient
from counterpoint.objectives.preference.preference import Pair, pairwise

TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


def pu_distill(case: Case) -> Checks:
    return {
        "scores": lambda: scores(case),
        "grpo": lambda: of_groups(case),
        "dpo": lambda: of_pairs(case),
        "listwise": lambda: of_lists(case),
        "sft": lambda: of_anchors(case),
    }


def scored(case: Case) -> tuple[Tensor, Tensor]:
    score = expected_rating(case.tensor("judge_logits"), case.tensor("rating_values"))
    return score, label_distribution(score, case.number("tau"))


def scores(case: Case) -> None:
    score, distribution = scored(case)
    case.expect("score", score, **TOLERANCE)
    case.expect("label_distribution", distribution, **TOLERANCE)
    assert case.number("std_eps") == EPSILON
    case.expect("advantage", distribution_advantages(distribution), **TOLERANCE)
    best, worst = best_and_worst(score)
    case.expect("index_best", best, **TOLERANCE)
    case.expect("index_worst", worst, **TOLERANCE)


def of_groups(case: Case) -> None:
    _, distribution = scored(case)
    logp = case.tensor("logp", grad=True)
    low = high = case.number("clip")
    loss = policy_gradient(
        logp.flatten(0, 1),
        distribution_advantages(distribution).flatten(),
        case.tensor("mask").flatten(0, 1),
        "grpo",
        old_BT=case.tensor("old_logp").flatten(0, 1),
        low=low,
        high=high,
        reference_BT=case.tensor("ref_logp").flatten(0, 1),
        kl=case.number("kl_beta"),
        kl_corrected=False,
    ).mean()
    case.expect("loss_grpo", loss, **TOLERANCE)
    case.expect("grad_grpo_logp", torch.autograd.grad(loss, logp)[0], **TOLERANCE)


def sums(case: Case, logp: Tensor) -> tuple[Tensor, Tensor]:
    mask = case.tensor("mask")
    return (logp * mask).sum(-1), (case.tensor("ref_logp") * mask).sum(-1)


def of_pairs(case: Case) -> None:
    score, _ = scored(case)
    logp = case.tensor("logp", grad=True)
    own, fixed = sums(case, logp)
    best, worst = (index[:, None] for index in best_and_worst(score))
    pair = Pair(*(each.gather(1, index)[:, 0] for each in (own, fixed) for index in (best, worst)))
    loss = pairwise("sigmoid", pair, beta=case.number("dpo_beta")).mean()
    case.expect("loss_dpo", loss, **TOLERANCE)
    case.expect("grad_dpo_logp", torch.autograd.grad(loss, logp)[0], **TOLERANCE)


def of_lists(case: Case) -> None:
    _, distribution = scored(case)
    logp = case.tensor("logp", grad=True)
    loss = listwise(*sums(case, logp), distribution, case.number("list_beta")).mean()
    case.expect("loss_listwise", loss, **TOLERANCE)
    case.expect("grad_listwise_logp", torch.autograd.grad(loss, logp)[0], **TOLERANCE)


def of_anchors(case: Case) -> None:
    logits = case.tensor("anchor_logits", grad=True)
    mask = case.tensor("anchor_mask")
    logp = logits.log_softmax(-1).gather(-1, case.tensor("anchor_labels")[..., None])[..., 0]
    loss = nll((logp * mask).sum(-1), mask.sum(-1)).mean()
    case.expect("loss_sft", loss, **TOLERANCE)
    case.expect("grad_sft_anchor_logits", torch.autograd.grad(loss, logits)[0], **TOLERANCE)


test_label_distribution = vector_tests({"pu-distill": pu_distill})
