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
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from fake_vllm import State, serving

from counterpoint.cli.main import app
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
    return tiny(seed=0, length=2048).save(tmp_path / "base")  # the judge's texts of spar are long


LEARNT = {"batch_size": 4, "max_new_tokens": 6}
ROUNDS = {
    "rounds": 2, "answers": 3, "max_new_tokens": 4, "seed_examples": 4, "sft_epochs": 1.0, "sft_learning_rate": 0.05, "batch_size": 2,
}  # fmt: skip
CRITICISED: dict[str, Any] = {
    "answers": 3, "judge": "majority", "feedback": "counterpoint.tasks.stock.guesser:only_wrong", "template": "{attempt}:{feedback}#{prompt}",
}  # fmt: skip
HINTED: dict[str, Any] = {
    "answers": 3, "judge": "majority", "steps": 1, "information.source": "solution", "information.template": "{information}#{prompt}",
}  # fmt: skip
POLICIES: dict[str, dict[str, Any]] = {
    "grpo": {**LEARNT, "answers": 3, "judge": "majority"},
    "sdft": LEARNT,
    "gkd": {**LEARNT, "on_policy": 1.0},
    "unisd": {**LEARNT, "agreement.retriever": "tfidf", "contrast.negatives": "sampled"},
    "rltf": {**LEARNT, **CRITICISED},
    "rltf by ratios": {**LEARNT, **CRITICISED, "distillation.ratio": "ppo", "distillation.unlikely": None},
    "suboptimal-onpolicy": {**LEARNT, "loss": "ppo", "judge": "majority", "passes": 1},
    "pi-distill": {**LEARNT, **HINTED},
    "pi-distill opsd": {**LEARNT, **HINTED, "objective": "opsd", "information.source": "written"},
    "suboptimal-onpolicy reinforce": {**LEARNT, "loss": "reinforce", "judge": "majority", "passes": 1},
}
"""Methods whose own tokens are learnt from, so that how the server rounds is weighed out."""
CANDIDATES: dict[str, dict[str, Any]] = {
    "cream": ROUNDS,
    "self-rewarding": ROUNDS,
    "selm": {"rounds": 3, "answers": 4, "temperature": 1.0, "max_new_tokens": 4, "judge": "majority", "batch_size": 2},
    "suboptimal-onpolicy pairs": {"batch_size": 4, "max_new_tokens": 40, "judge": "majority", "passes": 1, "budget": 3},
    "spar": {
        "rounds": 2, "max_new_tokens": 4, "answers": 2, "batch_size": 2, "tree.tries": 1, "refiner.max_new_tokens": 8,
    },
}  # fmt: skip


def trained(
    key: str, folder: Path, url: str, out: Path, rank: int, budget: int = 4, **settings: Any
) -> list[dict[str, Any]]:
    data = task("problems").load_data("worked-sums?size=16&validation=2&test=2")
    chosen = method(key.partition(" ")[0]).settings(**{
        "lora_rank": rank, "learning_rate": 0.05, "sampler.kind": "vllm", "sampler.url": url, "sampler.model": "base",
        **({"adapter.dropout": 0.0} if rank else {}), **settings,
    })  # fmt: skip
    with Run(out, budget=Budget(steps=budget), progress=False) as run:
        chosen.fit(load(folder), data, run)
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines() if '"loss"' in line]


def logged(event: dict[str, Any], name: str) -> float:
    """A figure of the step, whichever term it belongs to."""
    return float(next(value for key, value in event.items() if key.rpartition("/")[2] == name))


@pytest.mark.parametrize("key", POLICIES)
@pytest.mark.parametrize("rank", [0, 4])
def test_it_samples_from_the_weights_of_every_step(folder: Path, tmp_path: Path, key: str, rank: int) -> None:
    with serving(folder) as (url, state):
        events = trained(key, folder, url, tmp_path / "out", rank, **POLICIES[key])
        deaf = State(load(folder))
        state.models, state.deaf = deaf.models, True
        stale = trained(key, folder, url, tmp_path / "stale", rank, **POLICIES[key])
    assert [logged(event, "engine_gap") < 1e-4 for event in events] == [True] * 4
    assert logged(stale[0], "engine_gap") < 1e-4
    assert logged(stale[-1], "engine_gap") > 0.03
    assert logged(stale[-1], "engine_weight") != 1.0
    kinds = (
        {"/v1/load_lora_adapter", "/v1/unload_lora_adapter"}
        if rank
        else {"/pause", "/collective_rpc", "/resume"}
    )
    assert kinds <= set(state.paths)
    assert len(list((tmp_path / "out" / "engine").iterdir())) == (
        2 if key in ("unisd", "pi-distill opsd") else 1
    )


@pytest.mark.parametrize("key", POLICIES)
def test_weights_of_tokens_are_in_the_loss(folder: Path, tmp_path: Path, key: str) -> None:
    losses = []
    for cap in (1.0, 1e9):
        with serving(folder) as (url, state):
            state.deaf = True
            out = tmp_path / f"{cap}"
            events = trained(key, folder, url, out, 0, **{**POLICIES[key], "sampler.cap": cap})
        losses.append([event["loss"] for event in events])
    one, other = losses
    assert one[0] == pytest.approx(other[0], rel=1e-4)
    assert one[-1] != pytest.approx(other[-1], rel=1e-3)


@pytest.mark.parametrize("key", CANDIDATES)
@pytest.mark.parametrize("rank", [0, 4])
def test_candidates_come_from_the_weights_of_their_round(
    folder: Path, tmp_path: Path, key: str, rank: int
) -> None:
    with serving(folder) as (url, state):
        trained(key, folder, url, tmp_path / "out", rank, **{"budget": 99, **CANDIDATES[key]})
    given = "/v1/load_lora_adapter" if rank else "/collective_rpc"
    order = [path for path in state.paths if path in (given, "/v1/completions")]
    changes = [at for at, path in enumerate(order) if path == given]
    # A round that learns nothing leaves them as they are, and no refinement of an untaught actor is accepted.
    assert (1 if key == "spar" else 2) <= len(changes) <= 3
    assert all(order[at + 1] == "/v1/completions" for at in changes)


def test_a_server_that_was_started_again_is_given_the_adapter_again(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, state):
        model = load(folder, lora=LoRA(4))
        sampler = PolicySource("vllm", url, "base").build("grpo", model, HOW, on_policy="", folder=tmp_path)
        draws = row_draws(0, range(4), 6)
        first = sampler(["1+1=", "2+2="], 2, draws)
        state.models = {"base": state.base}
        again = sampler(["1+1=", "2+2="], 2, draws)
    assert again.rows() == first.rows()
    assert state.paths.count("/v1/load_lora_adapter") >= 2


def test_a_finished_run_keeps_no_weights_that_were_a_servers(folder: Path, tmp_path: Path) -> None:
    words = [
        "run",
        "sdft",
        "--data",
        "worked-sums?size=16&validation=2&test=2",
        "--model",
        str(folder),
        "--lora-rank",
        "4",
    ]
    with serving(folder) as (url, state):
        words += [
            "--sampler",
            "vllm",
            "--sampler.url",
            url,
            "--sampler.model",
            "base",
            "--max-new-tokens",
            "4",
        ]
        done = CliRunner().invoke(app, [*words, "--steps", "2", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert state.paths.count("/v1/load_lora_adapter") == 1  # the first step warms up, and moves nothing
    assert (tmp_path / "out" / "model").is_dir()
    assert not (tmp_path / "out" / "engine").exists()


def test_its_log_probabilities_are_the_models(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, _):
        model = load(folder)
        sampler = PolicySource("vllm", url, "base").build("grpo", model, HOW, on_policy="", folder=tmp_path)
        sampled = sampler(["1+1=", "20+2="], 2, row_draws(0, range(4), 6))
    own = completion_log_probs(model, model.prompts(["1+1=", "1+1=", "20+2=", "20+2="]), sampled)
    torch.testing.assert_close(sampled.log_probs, own.detach(), rtol=1e-4, atol=1e-4)


def test_a_stop_text_ends_the_servers_answers_and_the_models_own(folder: Path, tmp_path: Path) -> None:
    model, prompts = load(folder), ["1+1=", "20+2="] * 4
    with serving(folder) as (url, _):
        for kind, address in (("model", {}), ("vllm", {"url": url, "model": "base"})):
            source = PolicySource(kind, stop=("a", "7", "W"), **address)  # type: ignore[arg-type]
            sampler = source.build("grpo", model, Sampler(max_new_tokens=40), on_policy="", folder=tmp_path)
            sampled = sampler(prompts, 2, row_draws(0, range(16), 40))
            texts = model.texts(sampled)
            assert sum(text[-1:] in ("a", "7", "W") for text in texts) > 4
            for text, ended in zip(texts, sampled.ended.tolist()):
                assert not set(text[:-1]) & {"a", "7", "W"}
                assert ended or len(text) >= 30


def test_adpas_greedy_answers_are_those_of_the_model_itself(folder: Path, tmp_path: Path) -> None:
    data = task("preferences").load_data("paired:backward-sums?digits=1&size=12&validation=2&test=2")
    before = tiny(seed=1, length=2048).save(tmp_path / "before")
    given = {"teachers.before": str(before), "max_new_tokens": 5, "learning_rate": 1e-3, "batch_size": 4}
    ended = []
    with serving(folder) as (url, state):
        for kind in ("model", "vllm"):
            address = {"sampler.url": url, "sampler.model": "base"} if kind == "vllm" else {}
            adpa = method("adpa").settings(**given, **address, **{"sampler.kind": kind})
            with Run(tmp_path / kind, seed=0, budget=Budget(steps=6), progress=False) as run:
                ended.append(adpa.fit(load(folder), data, run).state_dict())
    assert state.paths.count("/collective_rpc") == 1
    for name, value in ended[0].items():
        torch.testing.assert_close(ended[1][name], value, rtol=0, atol=0)


@pytest.mark.parametrize(("lora", "model"), [(None, "base"), (LoRA(4), "adapter")], ids=["whole", "adapters"])
@pytest.mark.parametrize("broken", [1, 3])
def test_a_server_that_hangs_up_and_comes_back_is_given_its_weights(
    folder: Path, tmp_path: Path, lora: LoRA | None, model: str, broken: int
) -> None:
    draws = row_draws(0, range(4), 6)
    with serving(folder) as (url, state):
        policy = load(folder, lora=lora)
        with torch.no_grad():  # other weights than the server begins with
            next(p for p in policy.parameters() if p.requires_grad).add_(0.3)
            if lora is not None:
                for name, p in policy.named_parameters():
                    if "lora_B" in name:
                        p.add_(0.1)
        sampler = PolicySource("vllm", url, "base", at_once=1).build(
            "grpo", policy, HOW, on_policy="", folder=tmp_path
        )
        first = sampler(["1+1=", "2+2="], 2, draws)
        state.hung_up = broken
        again = sampler(["1+1=", "2+2="], 2, draws)
    assert again.rows() == first.rows()
    assert state.paths.count("/v1/load_lora_adapter" if model == "adapter" else "/collective_rpc") >= 2


@pytest.mark.parametrize("lora", [None, LoRA(4)], ids=["whole", "adapters"])
def test_a_server_of_another_model_is_one_line(folder: Path, tmp_path: Path, lora: LoRA | None) -> None:
    with serving(tiny(seed=5).save(tmp_path / "other")) as (url, state):
        policy = load(folder, lora=lora)
        with torch.no_grad():
            policy.base.model.embed_tokens.weight.mul_(30)
        state.deaf = lora is None  # it takes the weights and goes on with its own
        sampler = PolicySource("vllm", url, "base").build("grpo", policy, HOW, on_policy="", folder=tmp_path)
        with pytest.raises(CounterpointError, match="serves another model than"):
            sampler(["1+1="], 1, row_draws(0, range(1), 6))


def test_a_folder_that_the_server_cannot_see_is_one_line(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, state):
        load_there, state.load = state.load, lambda name, _: load_there(name, tmp_path / "elsewhere")  # type: ignore[method-assign]
        policy = load(folder, lora=LoRA(4))
        sampler = PolicySource("vllm", url, "base").build("grpo", policy, HOW, on_policy="", folder=tmp_path)
        with pytest.raises(CounterpointError, match="finds nothing at .*policy-.*sees this folder"):
            sampler(["1+1="], 1, row_draws(0, range(1), 6))


def test_a_tied_head_is_not_reloaded_on_a_cpu(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, state):
        state.processor = "cpu"
        sampler = PolicySource("vllm", url, "base").build(
            "grpo", load(folder), HOW, on_policy="", folder=tmp_path
        )
        with pytest.raises(CounterpointError, match="vLLM keeps the old head"):
            sampler(["1+1="], 1, row_draws(0, range(1), 6))
    assert "/collective_rpc" not in state.paths


def test_files_for_a_server_are_not_for_their_owner_alone(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as (url, _):
        policy = load(folder, lora=LoRA(4))
        sampler = PolicySource("vllm", url, "base").build("grpo", policy, HOW, on_policy="", folder=tmp_path)
        sampler(["1+1="], 1, row_draws(0, range(1), 6))
    plain = tmp_path / "plain"
    plain.write_text("")
    modes = {file.stat().st_mode for file in (tmp_path / "engine").rglob("*") if file.is_file()}
    assert modes == {plain.stat().st_mode}


@pytest.mark.parametrize(
    ("key", "settings", "message"),
    [
        ("user-interactions", {}, "sampler.kind"),
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
        sampler = PolicySource("vllm", url, "base").build(
            "grpo", load(folder), HOW, on_policy="", folder=tmp_path
        )
        with pytest.raises(CounterpointError, match="gave no token ids with their log-probabilities"):
            sampler(["1+1="], 1, row_draws(0, range(1), 6))


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (
            None,
            "takes no new weights (it has no /pause); start it by counterpoint serve MODEL, or by VLLM_SERVER_DEV_MODE=1",
        ),
        (
            LoRA(4),
            "takes no new weights (it has no /v1/load_lora_adapter); start it by counterpoint serve MODEL --lora-rank RANK, or by "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
        ),
    ],
)
def test_a_server_that_takes_no_weights_is_one_line(
    folder: Path, tmp_path: Path, lora: LoRA | None, message: str
) -> None:
    with serving(folder) as (url, state):
        state.fixed = True
        model = load(folder, lora=lora)
        sampler = PolicySource("vllm", url, "base").build("grpo", model, HOW, on_policy="", folder=tmp_path)
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
