"""Guided self-play against the authors' trainers and preparation function."""

from __future__ import annotations

import torch
from harness import Case, Checks, vector_tests
from torch import Tensor

from counterpoint.evaluation.scaling_curve import Curve
from counterpoint.objectives.preference.self_play import (
    conjecture_worth,
    group_advantages,
    group_cispo,
    guide_score,
    overlong,
    weighted_likelihood,
)


def sgs(case: Case) -> Checks:
    kind = case.text("kind")
    return {
        kind: lambda: {"reinforce": reinforce, "cispo": cispo, "conjecturer": conjecturer, "tables": tables}[
            kind
        ](case)
    }


def token_log_probs(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the labels, which are shifted by one, and where there is a label."""
    following = labels[:, 1:]
    mask = following != -100
    logp = logits[:, :-1].log_softmax(-1).gather(-1, following.clamp(min=0)[..., None]).squeeze(-1)
    return logp, mask


def reinforce(case: Case) -> None:
    logits = case.tensor("logits", grad=True)
    logp, mask = token_log_probs(logits, case.tensor("labels"))
    assert int(mask.sum()) == int(case.number("num_items_in_batch"))
    loss = weighted_likelihood(logp, case.tensor("weights"), mask).mean()
    loss.backward()
    case.expect("loss", loss, rtol=1e-10, atol=1e-12)
    case.expect("grad_logits", logits.grad, rtol=1e-10, atol=1e-12)


def cispo(case: Case) -> None:
    logits = case.tensor("logits", grad=True)
    logp, mask = token_log_probs(logits, case.tensor("labels"))
    old = case.tensor("gen_log_probs")[:, 1:]
    assert bool(((old != -100) == mask).all())
    rewards, size = case.tensor("rewards"), int(case.number("group_size"))
    assert rewards.shape == (int(case.number("groups_per_batch")), size)
    advantage = group_advantages(rewards).flatten()
    case.expect("advantages", advantage, rtol=1e-9, atol=1e-12)
    low, high = 1.0 - case.number("clip_low"), case.number("clip_high") - 1.0
    tokens = case.tensor("tokens_in_group")
    loss = group_cispo(logp, old, advantage, mask, tokens, size, low=low, high=high).mean()
    loss.backward()
    case.expect("loss", loss, rtol=1e-9, atol=1e-12)
    case.expect("grad_logits", logits.grad, rtol=1e-9, atol=1e-12)


def conjecturer(case: Case) -> None:
    rate, score = case.tensor("solve_rate"), case.tensor("guide_score")
    worth = conjecture_worth(rate, score if bool(case.array("use_guide")) else None)
    case.expect("threshold", worth.threshold, rtol=0.0, atol=0.0)
    case.expect("kept", worth.trained.double(), rtol=0.0, atol=0.0)
    case.expect("reward", worth.reward, rtol=1e-14, atol=0.0)
    case.expect("weight", worth.weight, rtol=1e-14, atol=1e-15)


def tables(case: Case) -> None:
    parts = [case.tensor(name) for name in ("relevance", "complexity", "redundancy")]
    case.expect("guide_score", guide_score(*parts), rtol=0.0, atol=0.0)
    lengths = overlong(case.tensor("lengths"), int(case.number("max_tokens")))
    case.expect("length_reward", lengths, rtol=1e-12, atol=1e-15)
    curve = Curve(*(case.number(f"curve_{name}") for name in ("R0", "A", "Cmid", "B")))
    value = torch.from_numpy(curve(case.array("curve_generations")))
    case.expect("curve_value", value, rtol=1e-12, atol=0.0)


test_self_play = vector_tests({"sgs": sgs})
