"""The losses of the unified loop of preference learning by name, on groups of completions to the same prompts (2404.14367, table 1).

P prompts, N completions each (those of a prompt are neighbours), T token positions. PPO and REINFORCE are ``policy.policy_gradient`` with
advantages; the others are here: a loss of pairs, or a likelihood of some completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.preference.preference import Pair, pairwise, reward_statistics
from counterpoint.objectives.preference.ranked import best_of_n, ranked_pairs, reward_weighted, token_paired
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import masked, sequence_sum

Kind = Literal["ppo", "reinforce", "dpo", "ipo", "pref_ft", "rwr", "best_of_n"]
PAIRS, GRADIENTS, OF_REFERENCE = ("dpo", "ipo", "pref_ft"), ("ppo", "reinforce"), ("dpo", "ipo")
BETA = {"dpo": 0.1, "ipo": 0.1, "rwr": 1.0}
"""Each loss's own beta: the tie to the initial model, or RWR's temperature."""


@dataclass
class Negative:
    """Whether completions are pushed down.

    Attributes:
        kind: "own", as the loss has it: pairs and advantages push down, likelihoods do not. "none" takes it away from ppo and
            reinforce (the least advantage becomes 0). "worst", "average" or "sum" give it to best_of_n: the log-probability of the worst
            completion, the mean or sum of all but the best.
        weight: of what best_of_n pushes down. constrained: it and the best are log-ratios to the initial model.
        bounded: log(1 - probability) in its place, which has a lower bound.
    """

    kind: Literal["own", "none", "worst", "average", "sum"] = "own"
    weight: float = 1.0
    constrained: bool = False
    bounded: bool = False


@dataclass
class Policy:
    """What only ppo and reinforce read.

    Attributes:
        advantage: "running", standardised by all rewards so far, one after the other; "running_mean", without the deviation; "group",
            standardised among the completions to the same prompt.
        clip: of ppo's ratio.
        kl, kl_kind: weight and estimator of a KL to the initial model in the loss. entropy: weight of the entropy bonus.
    """

    advantage: Literal["running", "running_mean", "group"] = "running"
    clip: float = 0.2
    kl: float = 0.0
    kl_kind: Literal["k1", "k2", "k3"] = "k1"
    entropy: float = 0.0


class Chosen(Protocol):
    """A loss with its settings; see ``methods.suboptimal_onpolicy``."""

    loss: Kind
    threshold: float
    beta: float | None
    weight_cap: float | None
    level: Literal["sequence", "token_paired"]
    negative: Negative


def group_losses(
    chosen: Chosen, logp_BT: Tensor, mask_BT: Tensor, rewards_PN: Tensor, reference_BT: Tensor | None
) -> dict[str, Loss]:
    """Return the named loss of groups of completions, B = P N rows.

    Args:
        chosen: the loss, none of ``GRADIENTS``. logp_BT: token log-probabilities; carry the gradient.
        mask_BT: tokens that count. rewards_PN: NaN where nobody could tell.
        reference_BT: under the initial model, for the losses ``OF_REFERENCE`` and a constrained best-of-N.
    """
    loss, negative = chosen.loss, chosen.negative
    beta = BETA.get(loss, 1.0) if chosen.beta is None else chosen.beta
    mask, count = mask_BT.bool(), rewards_PN.shape[1]
    logp_PN = sequence_sum(logp_BT, mask).reshape(rewards_PN.shape)
    ratio_BT = None if reference_BT is None else masked(logp_BT - reference_BT.to(logp_BT), mask)
    if loss == "rwr":
        return {
            "likelihood": reward_weighted(logp_PN.flatten(), rewards_PN.flatten(), beta, chosen.weight_cap)
        }
    if loss == "best_of_n":
        lowered = "none" if negative.kind == "own" else negative.kind
        reference_PN = None
        if negative.constrained and reference_BT is not None:
            reference_PN = sequence_sum(reference_BT.to(logp_BT), mask).reshape(rewards_PN.shape)
        values = best_of_n(
            logp_PN,
            rewards_PN,
            lowered,
            negative.weight,
            reference_PN=reference_PN,
            bounded=negative.bounded,
        )
        return {"likelihood": values}
    prompt_K, chosen_K, rejected_K = ranked_pairs(rewards_PN, chosen.threshold)
    winners_K, losers_K = prompt_K * count + chosen_K, prompt_K * count + rejected_K
    flat_B = logp_PN.flatten()
    if loss == "pref_ft":
        return {"likelihood": Loss(-flat_B[winners_K])}
    if ratio_BT is None:
        raise CounterpointError(f"loss={loss} compares with the initial model; give reference_BT")
    if chosen.level == "token_paired":
        either_KT = mask[winners_K] | mask[losers_K]
        kind: Any = loss
        return {"preference": token_paired(ratio_BT[winners_K], ratio_BT[losers_K], either_KT, beta, kind)}
    base_B = flat_B.detach() - ratio_BT.detach().sum(-1)
    pair = Pair(flat_B[winners_K], flat_B[losers_K], base_B[winners_K], base_B[losers_K])
    values_K = pairwise("sigmoid" if loss == "dpo" else "ipo_sum", pair, beta=beta)
    return {"preference": Loss(values_K, stats=reward_statistics(pair, beta))}


def check_unified(chosen: Chosen, method: str, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse a negative gradient that a loss cannot have, and settings that it would pass over.

    Args:
        method: who asks, for messages. changed: settings that differ from the defaults, name -> (default, value).

    Raises:
        CounterpointError: with what to change.
    """
    loss, kind = chosen.loss, chosen.negative.kind
    if chosen.beta is not None and not chosen.beta:
        raise CounterpointError(f"{method}: beta=0; expected a number above 0, for example beta=0.1")
    able = {"own": True, "none": loss not in OF_REFERENCE}.get(kind, loss == "best_of_n")
    if not able:
        instead = "pref_ft, which only pushes winners up" if kind == "none" else "best_of_n"
        raise CounterpointError(
            f"{method}: negative={kind}, which loss={loss} cannot have; give --loss {instead}"
        )
    lowers = loss == "best_of_n" and kind not in ("own", "none")
    read = {
        "threshold": loss in PAIRS,
        "beta": loss in BETA,
        "weight_cap": loss == "rwr",
        "level": loss in OF_REFERENCE,
        **dict.fromkeys(("negative.weight", "negative.constrained", "negative.bounded"), lowers),
        "policy.clip": loss == "ppo",
        **dict.fromkeys(("policy.advantage", "policy.kl", "policy.entropy"), loss in GRADIENTS),
        "policy.kl_kind": loss in GRADIENTS,
    }
    for name, (_, value) in changed.items():
        if not read.get(name, True):
            raise CounterpointError(
                f"{method}: {name}={value}, and loss={loss} with negative={kind} does not read it; leave it out"
            )
