"""GRACE's embeddings, rewards, advantages and policy loss against the authors' reward manager and loss functions."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.models.retrieval.embedder import pooled
from counterpoint.objectives.contrast.rationale_reward import Rewards, contrastive_rewards
from counterpoint.objectives.preference.advantage import group_relative
from counterpoint.objectives.preference.policy import policy_gradient

TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}


def grace(case: Case) -> Checks:
    return {
        "embeddings": lambda: embeddings(case),
        "rewards": lambda: rewards(case),
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


def rewards(case: Case) -> None:
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


test_rationale_reward = vector_tests({"grace": grace})
