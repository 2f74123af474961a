"""The losses of the unified loop against the authors' programs: bandits, sequence bandits, language models, and the KL toy."""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.objectives.preference.kl_estimate import kl_estimate
from counterpoint.objectives.preference.mass import forward_kl_step, reverse_kl_step
from counterpoint.objectives.preference.policy import policy_gradient, reinforce
from counterpoint.objectives.preference.preference import Pair, pairwise
from counterpoint.objectives.preference.ranked import (
    best_of_n,
    ranked_pairs,
    reward_weighted,
    reward_weights,
    token_paired,
)
from counterpoint.objectives.tokens import aggregate
from counterpoint.phases.reward_baseline import RunningScore

TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}
LOWERED = {
    "no_negative_gradient": "none",
    "worst_action": "worst",
    "average_over_worse_actions": "average",
    "sum_over_worse_actions": "sum",
    # The program's test of the name never finds it: it sums.
    "average_over_worse_actions_constrained": "sum",
    "sum_over_worse_actions_constrained": "sum",
}


def suboptimal_onpolicy(case: Case) -> Checks:
    if "p_after_forward_kl" in case or "p_after_reverse_kl" in case:
        return {"steps": partial(kl_steps, case)}
    kind = bandit if "ref_probs" in case else sequence if "actions" in case else language
    return {loss: partial(kind, case, loss) for loss in case.losses()}


def compare(case: Case, loss: str, value: Tensor, **leaves: Tensor) -> None:
    case.expect(f"{loss}/loss", value, **TOLERANCE)
    for (name, _), grad in zip(leaves.items(), torch.autograd.grad(value, list(leaves.values()))):
        case.expect(f"{loss}/grad_{name}", grad, **TOLERANCE)


def bandit(case: Case, loss: str) -> None:
    logits, actions = case.tensor("logits", grad=True), case.tensor("actions")
    rewards, fixed = case.tensor("rewards"), case.tensor("ref_probs").log()[actions]
    logp = logits.log_softmax(-1).gather(1, actions)
    beta = case.number(f"{loss}/beta")
    if loss.startswith("bon_"):
        name = case.text(f"{loss}/negative_gradient_type")
        constrained = fixed if name.endswith("constrained") else None
        value = best_of_n(logp, rewards, LOWERED[name], beta, reference_PN=constrained).mean()  # type: ignore[arg-type]
    elif loss.startswith("rwr"):
        value = reward_weighted(logp.flatten(), rewards.flatten(), beta).mean()
    elif loss.startswith("reinforce"):
        advantage = RunningScore().advantages(rewards.flatten())
        if bool(case.number(f"{loss}/remove_negative_gradients")):
            advantage = advantage - advantage.min()
        flat = logp.flatten()
        value = reinforce(flat[:, None], advantage).mean() + beta * flat.mean()
    else:
        prompt, chosen, rejected = ranked_pairs(rewards, case.number(f"{loss}/threshold", 0.0))
        case.expect(f"{loss}/num_pairs", float(len(prompt)), rtol=0)
        pair = Pair(
            logp[prompt, chosen], logp[prompt, rejected], fixed[prompt, chosen], fixed[prompt, rejected]
        )
        name, own = ("sigmoid", beta) if loss.startswith("dpo") else ("ipo_sum", 1.0 / (2.0 * beta))
        value = pairwise(name, pair, beta=own).mean()
    compare(case, loss, value, logits=logits)


def sequence(case: Case, loss: str) -> None:
    logits, actions = case.tensor("logits", grad=True), case.tensor("actions").flatten(0, 1)

    def gathered(table: Tensor) -> Tensor:
        return table.log_softmax(-1).expand(len(actions), -1, -1).gather(-1, actions[..., None])[..., 0]

    advantage = RunningScore().advantages(case.tensor("rewards").flatten())
    case.expect("advantages", advantage, **TOLERANCE)
    logp, clip = gathered(logits), case.number(f"{loss}/cliprange")
    clips = {"low": clip, "high": clip} if loss == "ppo" else {}
    value = policy_gradient(
        logp,
        advantage,
        torch.ones_like(logp),
        loss,
        old_BT=gathered(case.tensor("old_logits")) if loss == "ppo" else None,
        reference_BT=gathered(case.tensor("ref_logits")),
        kl=case.number(f"{loss}/beta"),
        kl_kind="k1",
        kl_corrected=False,
        **clips,
    ).mean()
    case.array("old_logits")
    compare(case, loss, value, logits=logits)


def language(case: Case, loss: str) -> None:
    """The program's masks are kept: one position late, so that a first response token has no loss."""
    prompts, rows = case.tensor("queries").shape[1], case.tensor("chosen").shape[0]
    late = torch.cat([torch.zeros(rows, prompts), torch.ones(rows, case.array("chosen").shape[1])], 1)[:, :-1]
    for name in ("logits_l", "ref_logits_l", "rejected", "preference_mask"):
        case.array(name)

    def logp(side: str, table: Tensor) -> Tensor:
        ids = torch.cat([case.tensor("queries"), case.tensor("chosen" if side == "w" else "rejected")], 1)
        return table[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]

    temperature, leaf = case.number(f"{loss}/temperature"), case.tensor("logits_w", grad=True)
    own, fixed = logp("w", leaf), logp("w", case.tensor("ref_logits_w"))
    if loss.startswith(("dpo", "ipo")):
        other = case.tensor("logits_l", grad=True)
        below = logp("l", other) - logp("l", case.tensor("ref_logits_l"))
        if loss.endswith("prefmask"):
            late = late * case.tensor("preference_mask")[:, None]
        kind = cast(Literal["dpo", "ipo"], "ipo" if bool(case.number(f"{loss}/ipo_loss")) else "dpo")
        value = token_paired(own - fixed, below, late, temperature, kind).mean()
        compare(case, loss, value, logits_w=leaf, logits_l=other)
        return
    scores = case.tensor("scores")
    for name in ("use_score_scaling", "use_score_norm", "clip_weighting_value_min"):
        case.array(f"{loss}/{name}")
    highest = case.number(f"{loss}/clip_weighting_value_max")
    cap = highest if bool(case.number(f"{loss}/clip_weighting")) else None
    if loss.startswith("rwr"):
        weights = reward_weights(scores, temperature, cap)
        value = aggregate(-weights[:, None] * own, late, "token_mean").mean()
    else:
        drift = kl_estimate(own, fixed, "k2")
        value = aggregate(
            reinforce(own, scores) + case.number(f"{loss}/kl_weight") * drift, late, "token_mean"
        ).mean()
    compare(case, loss, value, logits_w=leaf)


def kl_steps(case: Case) -> None:
    p, q, rate = case.tensor("p"), case.tensor("q"), case.number("eta")
    case.expect("p_after_forward_kl", forward_kl_step(p, q, rate), **TOLERANCE)
    case.expect("p_after_reverse_kl", reverse_kl_step(p, q, rate), **TOLERANCE)


test_ranked = vector_tests({"suboptimal-onpolicy": suboptimal_onpolicy})
