"""What ``counterpoint plan`` counts: weights as the model has them, copies as the methods make them, shares that add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load, row
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import adapt
from counterpoint.models.sizes import count, sizes_of
from counterpoint.study.memory import Setup, fits, launch, needed
from counterpoint.tasks.task import task
from counterpoint.teachers import copies
from counterpoint.training import Budget, Run

PLAIN = {"batch_size": 4, "lora_rank": 0}
SAMPLED = {**PLAIN, "max_new_tokens": 2}
GROUPS = {**SAMPLED, "judge": "majority", "answers": 3}
ROUNDS = {
    **PLAIN,
    "max_new_tokens": 4,
    "top_p": 1.0,
    "rounds": 1,
    "answers": 4,
    "seed_examples": 4,
    "sft_epochs": 1.0,
    "epochs": 1.0,
}
RUNS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "sft": ("sft", PLAIN, 0),
    "sdft": ("sdft", SAMPLED, 1),
    "gkd": ("gkd", SAMPLED, 1),
    "unisd": ("unisd", {**SAMPLED, "agreement.retriever": "tfidf"}, 2),
    "grpo": ("grpo", {**GROUPS, "minibatches": 2}, 1),
    "dpo": ("dpo", PLAIN, 0),
    "kto": ("dpo", {**PLAIN, "loss": "kto"}, 0),
    "reward": ("reward", PLAIN, 0),
    "selm": ("selm", {**SAMPLED, "rounds": 1, "judge": "format:[0-9]"}, 0),
    "preference-degree": ("preference-degree", {**PLAIN, "degree.decoys": True}, 0),
    "adpa": ("adpa", {**SAMPLED, "teachers.batch_size": 4}, None),
    "cream": ("cream", ROUNDS, None),
    "self-rewarding": ("self-rewarding", ROUNDS, 1),
    "offline": ("suboptimal-onpolicy", {**GROUPS, "sampling": "offline"}, 1),
    "pi-distill": ("pi-distill", {
        **GROUPS, "answers": 3, "steps": 2, "anneal": 0, "information.source": "solution", "information.template": "{information}#{prompt}",
    }, 1),
    "candidates": ("pu-distill", {**SAMPLED, "answers": 3, "imitation.epochs": 0.0, "rating.template": "{anchor}:{candidate}?"}, None),
    "pairs of candidates": ("pu-distill", {
        **SAMPLED, "answers": 3, "form": "dpo", "imitation.epochs": 0.0, "rating.template": "{anchor}:{candidate}?",
    }, None),
}  # fmt: skip
"""A method, its settings, and how many copies of the model it makes; None: where this depends on what the run is about."""
DATA = {
    "problems": "worked-sums", "preferences": "paired:backward-sums", "preference-degree": "described-things",
}  # fmt: skip
"""What runs, or all runs on a kind of data, learn from."""


@pytest.mark.parametrize("name", RUNS)
def test_copies_and_sequences_are_those_of_a_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, settings, copied = RUNS[name]
    made: list[object] = []
    copy, step = copies.snapshot, Run.step
    monkeypatch.setattr(copies, "snapshot", lambda model: made.append(model) or copy(model))
    passed, before_steps = [0], []

    def count(_: object, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            passed[0] += len(named["input_ids"] if "input_ids" in named else given[0])

    def counted(self: Run, *given: Any, **named: Any) -> float:
        before_steps.append(passed[0])
        passed[0] = 0
        return step(self, *given, **named)

    monkeypatch.setattr(Run, "step", counted)
    data = task(row(key).kind).load_data(DATA.get(name, DATA[row(key).kind]) + "?size=24&validation=2&test=2")
    model, method = tiny(seed=0), load(key).settings(**settings)
    model.causal.get_decoder().register_forward_pre_hook(count, with_kwargs=True)
    with Run(tmp_path, budget=Budget(steps=4), progress=False) as run:
        method.fit(model, data, run)
    assert max(before_steps) == 4 * method.sequences()
    if copied is not None:
        assert len(made) == copied == method.copies


def test_weights_are_counted_as_the_model_has_them(tmp_path: Path) -> None:
    model = tiny(seed=0)
    sizes = sizes_of(model.save(tmp_path / "model"))
    assert sizes == count(model.causal)
    assert sizes.total == sum(p.numel() for p in model.parameters())
    rank = 3
    trained = sum(p.numel() for p in adapt(tiny(seed=0), rank).parameters() if p.requires_grad)
    assert needed(sizes, Setup(lora_rank=rank))["gradients"] == 4 * trained == 4 * rank * sizes.linear


def test_shares_add_up_to_the_whole() -> None:
    sizes = count(tiny(seed=0).causal)
    alone = needed(sizes, Setup(lora_rank=0), copies=2)
    each = needed(sizes, Setup(lora_rank=0, processes=4, shard=True), copies=2)
    for part in ("weights", "gradients", "moments", "copies"):
        assert 4 * each[part] == alone[part] > 0
    assert alone["copies"] == 2 * needed(sizes, Setup(lora_rank=0), copies=1)["copies"]
    assert needed(sizes, Setup(lora_rank=0, processes=4))["weights"] == alone["weights"]
    assert needed(sizes, Setup(micro=1))["activations"] < alone["activations"]
    assert fits({"weights": 90.0}, 100.0)
    assert not fits({"weights": 91.0}, 100.0)


def test_nonsense_is_refused() -> None:
    with pytest.raises(CounterpointError, match="processes, rows, micro and length are 1 or more"):
        Setup(processes=0)


def test_the_command_prints_the_first_way_that_fits(tmp_path: Path) -> None:
    folder = str(tiny(seed=0).save(tmp_path / "model"))
    given = ["plan", "sdft", "--model", folder, "--gpus", "2", "--json"]
    roomy = json.loads(CliRunner().invoke(app, given).output)
    assert [way["fits"] for way in roomy["ways"]] == [True] * 6
    assert roomy["copies"] == 1
    spread = max(way["total"] for way in roomy["ways"] if way["setup"]["shard"])
    memory = 1.2 * min(way["total"] for way in roomy["ways"] if way["setup"]["shard"]) / 2**30
    tight = json.loads(CliRunner().invoke(app, [*given, "--memory", str(memory)]).output)
    first = next(way for way in tight["ways"] if way["fits"])
    assert first["setup"]["shard"] or first["setup"]["micro"]
    assert spread > 0
    table = CliRunner().invoke(app, [*given[:-1], "--memory", str(memory)]).output
    assert first["launch"] in table.replace("\n", " ")


def test_a_pair_is_counted_as_two_sequences(tmp_path: Path) -> None:
    folder = str(tiny(seed=0).save(tmp_path / "model"))
    given = ["--model", folder, "--lora-rank", "0", "--batch-size", "8", "--length", "64"]
    one, two = (
        json.loads(CliRunner().invoke(app, ["plan", key, *given, "--json"]).output) for key in ("sft", "dpo")
    )
    assert (one["sequences"], two["sequences"]) == (1, 2)
    of_rows, of_pairs = (each["ways"][0]["bytes"] for each in (one, two))
    assert of_rows["activations"] > 0
    assert of_pairs["activations"] == 2 * of_rows["activations"]
    for part in ("weights", "gradients", "moments"):  # a pair passes the same model, which is trained once
        assert of_pairs[part] == of_rows[part] > 0, part
    table = CliRunner().invoke(app, ["plan", "dpo", *given]).output
    assert "a row of dpo is 2 sequences" in " ".join(table.split())


def test_a_method_without_a_language_model_is_one_line() -> None:
    result = CliRunner().invoke(app, ["plan", "dcl", "--model", "smollm2-135m-instruct"])
    assert result.exit_code == 2
    assert "dcl trains no language model" in result.output


def test_the_line_names_what_was_chosen() -> None:
    line = launch(
        "sft", "M", Setup(processes=8, shard=True, micro=1, recompute=True, dtype="bf16", lora_rank=0)
    )
    assert line == (
        "torchrun --nproc-per-node 8 -m counterpoint run sft --data DATA --model M --out OUT --lora-rank 0 --batch-size 32 "
        "--micro-batch-size 1 --model-option recompute=true --model-option dtype=bf16 --shard fsdp"
    )
