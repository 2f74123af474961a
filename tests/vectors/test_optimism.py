"""SELM's loss against the authors' trainer, and the exact expectation over a tabular reference."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests

from counterpoint.objectives.preference.optimism import expected_optimism, optimism
from counterpoint.objectives.preference.preference import Pair, pairwise, reward_statistics

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def selm(case: Case) -> Checks:
    if "theta" in case:
        return {"tabular": lambda: tabular(case)}
    return {"losses": lambda: losses(case)}


def losses(case: Case) -> None:
    own = [case.tensor(f"policy_{name}_logps", grad=True) for name in ("chosen", "rejected", "response")]
    fixed = [case.tensor(f"ref_{name}_logps") for name in ("chosen", "rejected", "response")]
    alpha, beta = case.number("alpha"), case.number("beta")
    pair = Pair(own[0], own[1], fixed[0], fixed[1])
    values = pairwise("sigmoid", pair, beta=beta) + optimism(own[2], fixed[2], alpha, beta)
    case.expect("losses", values, **TOLERANCE)
    case.expect("loss", values.mean(), **TOLERANCE)
    for name, grad in zip(("chosen", "rejected", "response"), torch.autograd.grad(values.mean(), own)):
        case.expect(f"grad_policy_{name}", grad, **TOLERANCE)
    rewards = reward_statistics(pair, beta)
    case.expect("chosen_rewards", rewards["reward_chosen"], **TOLERANCE)
    case.expect("rejected_rewards", rewards["reward_rejected"], **TOLERANCE)


def tabular(case: Case) -> None:
    theta, reference = case.tensor("theta", grad=True), case.tensor("ref_logits").log_softmax(-1)
    logp, winner, loser = theta.log_softmax(-1), case.tensor("winner").long(), case.tensor("loser").long()
    alpha, beta = case.number("alpha"), case.number("beta")
    pair = Pair(logp[winner], logp[loser], reference[winner], reference[loser])
    dpo = pairwise("sigmoid", pair, beta=beta).mean()
    bonus = expected_optimism(logp, reference, alpha, beta)
    case.expect("loss_dpo", dpo, **TOLERANCE)
    case.expect("loss_optimism", bonus, **TOLERANCE)
    case.expect("loss_total", dpo + bonus, **TOLERANCE)
    case.expect("grad_theta", torch.autograd.grad(dpo + bonus, [theta])[0], **TOLERANCE)


test_optimism = vector_tests({"selm": selm})
