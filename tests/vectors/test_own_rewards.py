"""Rewards of a model's own making: PU distillation's ratings (loops over reconstructed equations), GRACE's contrast (the authors' program)."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.judges.agreement import best_and_worst
from counterpoint.judges.rated import expected_rating
from counterpoint.models.retrieval.embedder import pooled
from counterpoint.objectives.contrast.rationale_reward import Rewards, contrastive_rewards
from counterpoint.objectives.preference.advantage import EPSILON, group_relative
from counterpoint.objectives.preference.label_distribution import (
    distribution_advantages,
    label_distribution,
    listwise,
)
from counterpoint.objectives.preference.likelihood import nll
from counterpoint.objectives.preference.policy import policy_gradient
from counterpoint.objectives.preference.preference import Pair, pairwise

LOOPS = {"rtol": 1e-9, "atol": 1e-12}


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
    case.expect("score", score, **LOOPS)
    case.expect("label_distribution", distribution, **LOOPS)
    assert case.number("std_eps") == EPSILON
    case.expect("advantage", distribution_advantages(distribution), **LOOPS)
    best, worst = best_and_worst(score)
    case.expect("index_best", best, **LOOPS)
    case.expect("index_worst", worst, **LOOPS)


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
    case.expect("loss_grpo", loss, **LOOPS)
    case.expect("grad_grpo_logp", torch.autograd.grad(loss, logp)[0], **LOOPS)


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
    case.expect("loss_dpo", loss, **LOOPS)
    case.expect("grad_dpo_logp", torch.autograd.grad(loss, logp)[0], **LOOPS)


def of_lists(case: Case) -> None:
    _, distribution = scored(case)
    logp = case.tensor("logp", grad=True)
    loss = listwise(*sums(case, logp), distribution, case.number("list_beta")).mean()
    case.expect("loss_listwise", loss, **LOOPS)
    case.expect("grad_listwise_logp", torch.autograd.grad(loss, logp)[0], **LOOPS)


def of_anchors(case: Case) -> None:
    logits = case.tensor("anchor_logits", grad=True)
    mask = case.tensor("anchor_mask")
    logp = logits.log_softmax(-1).gather(-1, case.tensor("anchor_labels")[..., None])[..., 0]
    loss = nll((logp * mask).sum(-1), mask.sum(-1)).mean()
    case.expect("loss_sft", loss, **LOOPS)
    case.expect("grad_sft_anchor_logits", torch.autograd.grad(loss, logits)[0], **LOOPS)


TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}


def grace(case: Case) -> Checks:
    return {
        "embeddings": lambda: embeddings(case),
        "rewards": lambda: grace_rewards(case),
        "policy": lambda: policy(case),
    }


def embedded(case: Case, name: str) -> Tensor:
    return pooled(case.tensor(f"{name}_hidden"), case.tensor(f"{name}_mask"), int(case.number("system_len")))


def embeddings(case: Case) -> None:
    case.expect("main_embedding", embedded(case, "main"), **TOLERANCE)
    case.expect("query_embedding", embedded(case, "query"), **TOLERANCE)


def rewarded(case: Case) -> Rewards:
    supervised = bool(case.number("supervised"))
    return contrastive_rewards(
        embedded(case, "main"),
        embedded(case, "query"),
        case.tensor("group"),
        negatives_MND=embedded(case, "neg")[:, None] if supervised else None,
        temperature=case.number("tau") if case.number("with_scale") else 1.0,
        consistency=case.number("lambda_cluster"),
        cross=case.number("lambda_cross"),
        cross_of="query" if supervised else "rollout",
    )


def final(case: Case) -> Tensor:
    return rewarded(case).total.masked_fill(case.tensor("overlong").bool(), -1.0)


def grace_rewards(case: Case) -> None:
    parts, supervised = rewarded(case), bool(case.number("supervised"))
    case.expect("reward_positive", parts.positive, **TOLERANCE)
    case.expect("reward_cluster", parts.consistency, **TOLERANCE)
    case.expect("reward_cross", -parts.cross if supervised else parts.cross, **TOLERANCE)
    if supervised:
        case.expect("reward_negative", -parts.negative, **TOLERANCE)
    case.expect("reward_total", parts.total, **TOLERANCE)
    case.expect("reward_final", final(case), **TOLERANCE)
    # The authors put the reward on a response's last token.
    lengths = case.tensor("response_len").long()
    tokens = torch.zeros(len(lengths), case.array("token_reward").shape[1], dtype=torch.float64)
    tokens[torch.arange(len(lengths)), lengths - 1] = final(case)
    case.expect("token_reward", tokens, **TOLERANCE)


def policy(case: Case) -> None:
    group, mask = case.tensor("group"), case.tensor("response_mask")
    reward, advantage = final(case), torch.zeros(len(group), dtype=torch.float64)
    for each in group.unique():
        inside = group == each
        advantage[inside] = group_relative(reward[inside], int(inside.sum()), "none")
    case.expect("advantage", advantage[:, None] * mask, rtol=1e-6, atol=1e-6)  # theirs went through float32
    logp = case.tensor("logp", grad=True)
    loss = policy_gradient(
        logp,
        advantage,
        mask,
        "bnpo",
        old_BT=case.tensor("old_logp"),
        low=case.number("clip"),
        high=case.number("clip"),
        delta=case.number("dual_clip"),
    ).mean()
    case.expect("policy_loss", loss, rtol=1e-6, atol=1e-6)
    case.expect("grad_logp", torch.autograd.grad(loss, logp)[0], rtol=1e-6, atol=1e-6)
    assert case.number("prompt_len") + mask.shape[1] == case.array("main_mask").shape[1]


test_own_rewards = vector_tests({"pu-distill": pu_distill, "grace": grace})
