"""A vLLM server follows the model in training: its tokens are of this step's weights, and what it rounds otherwise is weighed out."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from fake_vllm import State, serving

from counterpoint.errors import CounterpointError
from counterpoint.generation.sampler import Sampler, row_draws
from counterpoint.generation.samplers import PolicySource
from counterpoint.methods.catalog import load as method
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import LoRA, load
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.objectives.preference.mismatch import engine_weights
from counterpoint.objectives.preference.policy import VARIANTS, policy_gradient
from counterpoint.tasks.task import task
from counterpoint.training import Budget, Run

HOW = Sampler(max_new_tokens=6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny(seed=0).save(tmp_path / "base")


def trained(
    folder: Path, url: str, out: Path, rank: int, steps: int = 4, **settings: Any
) -> list[dict[str, Any]]:
    data = task("problems").load_data("worked-sums?size=16&validation=2&test=2")
    grpo = method("grpo").settings(**{
        "lora_rank": rank, "learning_rate": 0.05, "batch_size": 4, "answers": 3, "max_new_tokens": 6, "judge": "majority",
        "sampler.kind": "vllm", "sampler.url": url, "sampler.model": "base", **settings,
    })  # fmt: skip
    with Run(out, budget=Budget(steps=steps), progress=False) as run:
        grpo.fit(load(folder), data, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines() if '"loss"' in line]


@pytest.mark.parametrize("rank", [0, 4])
def test_it_samples_from_the_weights_of_every_step(folder: Path, tmp_path: Path, rank: int) -> None:
    with serving(folder) as (url, state):
        events = trained(folder, url, tmp_path / "out", rank)
        deaf = State(load(folder))
        state.models, state.deaf = deaf.models, True
        stale = trained(folder, url, tmp_path / "stale", rank)
    assert [event["engine_gap"] < 1e-4 for event in events] == [True] * 4
    assert stale[0]["engine_gap"] < 1e-4
    assert stale[-1]["engine_gap"] > 0.05
    kinds = (
        {"/v1/load_lora_adapter", "/v1/unload_lora_adapter"}
        if rank
        else {"/pause", "/collective_rpc", "/resume"}
    )
    assert kinds <= set(state.paths)
    assert len(list((tmp_path / "out" / "engine").iterdir())) == 1


def test_a_server_that_was_started_again_is_given_the_adapter_again(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, state):
        model = load(folder, lora=LoRA(4))
        sampler = PolicySource("vllm", url, "base").follow("grpo", model, HOW, on_policy="", folder=tmp_path)
        draws = row_draws(0, range(4), 6)
        first = sampler(["1+1=", "2+2="], 2, draws)
        state.models = {"base": state.base}
        again = sampler(["1+1=", "2+2="], 2, draws)
    assert again.rows() == first.rows()
    assert state.paths.count("/v1/load_lora_adapter") >= 2


def test_its_log_probabilities_are_the_models(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, _):
        model = load(folder)
        sampler = PolicySource("vllm", url, "base").follow("grpo", model, HOW, on_policy="", folder=tmp_path)
        sampled = sampler(["1+1=", "20+2="], 2, row_draws(0, range(4), 6))
    own = completion_log_probs(model, model.prompts(["1+1=", "1+1=", "20+2=", "20+2="]), sampled)
    torch.testing.assert_close(sampled.log_probs, own.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "settings", "message"),
    [
        ("sdft", {}, "sampler.kind"),
        ("grpo", {"sampler.url": "http://93.184.216.34:8000"}, "a loopback or private address"),
        ("grpo", {"sampler.model": ""}, "needs the server's address and the base model"),
        ("grpo", {"sampler.cap": 0.5}, "the largest weight is 1 or more"),
        ("grpo", {"variant": "rloo"}, "weights of tokens were given"),
    ],
)
def test_what_cannot_be_is_one_line(
    folder: Path, tmp_path: Path, key: str, settings: dict[str, Any], message: str
) -> None:
    data = task("problems").load_data("worked-sums?size=16&validation=2&test=2")
    with serving(folder) as (url, _):
        given = {
            "sampler.kind": "vllm",
            "sampler.url": url,
            "sampler.model": "base",
            "lora_rank": 0,
            "max_new_tokens": 4,
            "batch_size": 4,
        }
        with (
            Run(tmp_path / "out", budget=Budget(steps=1), progress=False) as run,
            pytest.raises(CounterpointError, match=message),
        ):
            method(key).settings(**{**given, **settings}).fit(load(folder), data, run)


@pytest.mark.parametrize("bare", ["token_ids", "logprobs", "values"])
def test_a_server_without_token_ids_or_log_probabilities_is_one_line(
    folder: Path, tmp_path: Path, bare: str
) -> None:
    with serving(folder) as (url, state):
        state.bare = bare
        sampler = PolicySource("vllm", url, "base").follow(
            "grpo", load(folder), HOW, on_policy="", folder=tmp_path
        )
        with pytest.raises(CounterpointError, match="gave no token ids with their log-probabilities"):
            sampler(["1+1="], 1, row_draws(0, range(1), 6))


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (None, "takes no new weights (it has no /pause); start it by VLLM_SERVER_DEV_MODE=1"),
        (
            LoRA(4),
            "takes no new weights (it has no /v1/load_lora_adapter); start it by VLLM_ALLOW_RUNTIME_LORA",
        ),
    ],
)
def test_a_server_that_takes_no_weights_is_one_line(
    folder: Path, tmp_path: Path, lora: LoRA | None, message: str
) -> None:
    with serving(folder) as (url, state):
        state.fixed = True
        model = load(folder, lora=lora)
        sampler = PolicySource("vllm", url, "base").follow("grpo", model, HOW, on_policy="", folder=tmp_path)
        with pytest.raises(CounterpointError, match=re.escape(message)):
            sampler(["1+1="], 1, row_draws(0, range(1), 6))


def test_weights_are_truncated_ratios() -> None:
    own = torch.tensor([[-1.0, -2.0, -0.5], [-1.0, -1.0, -1.0]])
    engine = torch.tensor([[-1.5, -1.0, -9.0], [math.nan, -1.0, -9.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    expected = torch.tensor([[math.exp(0.5), math.exp(-1.0), 3.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(engine_weights(own, engine, mask), expected)
    whole = engine_weights(own, engine, mask, cap=1e9, level="sequence")
    torch.testing.assert_close(whole[0], torch.full((3,), math.exp(0.5 - 1.0 + 8.5)))
    assert whole[1].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"rloo"}))
def test_a_weight_scales_its_tokens_gradient_and_has_none(variant: str) -> None:
    draw = torch.Generator().manual_seed(0)
    logp = -torch.rand(3, 4, generator=draw, dtype=torch.float64) - 0.5
    advantage, mask = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64), torch.ones(3, 4)
    weight = (torch.rand(3, 4, generator=draw, dtype=torch.float64) + 0.5).requires_grad_()
    if VARIANTS[variant].level == "sequence" or variant == "vespo":
        weight = torch.full(
            (3, 4), 0.7, dtype=torch.float64, requires_grad=True
        )  # their ratio is the sequence's

    def gradient(weight_BT: torch.Tensor | None) -> torch.Tensor:
        here = logp.clone().requires_grad_()
        loss = policy_gradient(here, advantage, mask, variant, old_BT=logp, max_length=4, weight_BT=weight_BT)
        return torch.autograd.grad(loss.mean(), here)[0]

    torch.testing.assert_close(gradient(weight), gradient(None) * weight.detach(), rtol=1e-10, atol=1e-14)
