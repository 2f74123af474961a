"""GRPO's own pieces on a batch that went through TRL's GRPOTrainer (make_grpo_trl.py): advantages, losses, every gradient."""

from __future__ import annotations

import ast
import tempfile
from functools import partial
from typing import Any, cast

import torch
from harness import Case, Checks, vector_tests

from counterpoint.generation.sampler import Sampled
from counterpoint.methods.baselines.grpo import GRPO
from counterpoint.models.language.characters import tiny
from counterpoint.models.tokens import pad
from counterpoint.objectives.reduction import total
from counterpoint.phases.policy_gradient import group_advantages
from counterpoint.training import Run

OURS = {
    "epsilon": "clip.low",
    "epsilon_high": "clip.high",
    "delta": "clip.delta",
    "beta": "penalty.weight",
    "use_bias_correction_kl": "penalty.corrected",
    "mask_truncated_completions": "skip_cut",
    "entropy_coef": "entropy.weight",
}
"""TRL's settings by our names; the rest is the variant and the advantage."""


def settings_of(trl: dict[str, Any], limit: int) -> GRPO:
    """GRPO with the settings that a TRL configuration means."""
    trl = dict(trl)
    variant = trl.pop("loss_type")
    if trl.pop("importance_sampling_level", "token") == "sequence" and variant == "grpo":
        variant = "gspo"
    given: dict[str, Any] = {"variant": variant, "max_new_tokens": limit, "penalty.weight": 0.0}
    if "scale_rewards" in trl:
        given["advantage"] = trl.pop("scale_rewards")
    if "multi_objective_aggregation" in trl:
        given["advantage"] = {"normalize_then_sum": "normalise_then_sum"}[
            trl.pop("multi_objective_aggregation")
        ]
    return GRPO.settings(**given | {OURS[name]: value for name, value in trl.items()})


def grpo(case: Case) -> Checks:
    return {name: partial(check, case, name) for name in case.losses()}


def check(case: Case, name: str) -> None:
    group, limit = int(case.number("group")), int(case.number("limit"))
    method = settings_of(ast.literal_eval(case.text(f"{name}/settings")), limit)
    model = tiny(seed=0, layers=1, width=8, heads=1, alphabet="0123456789+=~").double().eval()
    model.causal.load_state_dict(
        {key.removeprefix("weight."): case.tensor(key) for key in case.keys("weight.")}
    )
    texts = [str(each) for each in case.array("completions")]
    ended = torch.tensor([len(text) < limit for text in texts])
    rows = model.completions(texts).rows()
    drawn = pad([ids if end else ids[:-1] for ids, end in zip(rows, ended)], side="right")
    completions = Sampled(drawn.ids, drawn.mask, torch.zeros(drawn.ids.shape), ended)
    prompts = model.prompts([str(each) for each in case.array("prompts") for _ in range(group)])
    kind, weight, target = method._own()
    assert target == "loss"
    with tempfile.TemporaryDirectory() as folder, Run(folder, progress=False) as run:
        weights = case.array("reward_weights").tolist()
        advantage = group_advantages(run, case.tensor("rewards").double(), group, cast(Any, kind), weights)
        case.expect(f"{name}/advantages", advantage, rtol=1e-4, atol=1e-6)
        mask = completions.mask * (ended[:, None] if method.skip_cut else 1)
        terms = method._update(weight).losses(
            run,
            model,
            prompts,
            completions,
            case.tensor(f"{name}/advantages").double(),
            mask_NT=mask,
            old_NT=case.tensor("old_logps"),
            reference_NT=case.tensor("ref_logps") if weight else None,
        )
        case.tensor("ref_logps")
    loss = total(terms)
    case.expect(f"{name}/loss", loss, rtol=1e-5, atol=1e-7)  # Llama normalises in float32
    loss.backward()
    for key, parameter in model.causal.named_parameters():
        if f"{name}/grad_{key}" in case:
            case.expect(f"{name}/grad_{key}", parameter.grad, rtol=1e-4, atol=1e-6)


test_trl = vector_tests({"grpo": grpo})
