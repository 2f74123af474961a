"""What ``counterpoint plan`` counts: weights as the model has them, copies as the methods make them, shares that add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from beir_folder import write
from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load, row
from counterpoint.models.activations import Activations, activations_of
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import adapt
from counterpoint.models.language.running import Running
from counterpoint.models.retrieval.embedder import Embedder, Shown
from counterpoint.models.sizes import count, sizes_of
from counterpoint.study.memory import Demand, Setup, fits, launch, needed, peaks
from counterpoint.tasks.task import task
from counterpoint.teachers import copies
from counterpoint.training import Budget, Run

PLAIN = {"batch_size": 4, "lora_rank": 0}
SAMPLED = {**PLAIN, "max_new_tokens": 2}
GROUPS = {**SAMPLED, "judge": "majority", "answers": 3}
GROUPS_OF_TEXTS = {**SAMPLED, "answers": 3, "template": "{text}", "reward.cut_penalty": None}
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
    "spar": ("spar", {
        **PLAIN, "rounds": 1, "answers": 3, "max_new_tokens": 4, "judge": "verifier", "refiner": "counterpoint.tasks.stock.copier:minimal",
    }, 0),
    "specs": ("specs", {
        **PLAIN, "tags": "a b", "answers": 3, "rejected_from": "chosen", "judge": "format:.+", "source.max_new_tokens": 6,
    }, 0),
    "online": ("suboptimal-onpolicy", GROUPS, 1),
    "offline": ("suboptimal-onpolicy", {**GROUPS, "sampling": "offline"}, 1),
    "pi-distill": ("pi-distill", {
        **GROUPS, "answers": 3, "steps": 2, "anneal": 0, "information.source": "solution", "information.template": "{information}#{prompt}",
    }, 1),
    "grace": ("grace", {**GROUPS_OF_TEXTS, "minibatches": 2}, 0),
    "grace, contrast alone": ("grace", {**GROUPS_OF_TEXTS, "objective": "contrastive"}, 0),
    "candidates": ("pu-distill", {**SAMPLED, "answers": 3, "imitation.epochs": 0.0, "rating.template": "{anchor}:{candidate}?"}, None),
    "pairs of candidates": ("pu-distill", {
        **SAMPLED, "answers": 3, "form": "dpo", "imitation.epochs": 0.0, "rating.template": "{anchor}:{candidate}?",
    }, None),
}  # fmt: skip
"""A method, its settings, and how many copies of the model it makes; None: where this depends on what the run is about."""
LARGE = {"dpo", "kto", "preference-degree"}
"""Runs of which one durable stage has a full shard of 64 pairs only where there are as many rows; of the others 24 rows are enough."""
ASKED = {"adpa"}
"""Runs whose stages see fewer sequences in four steps than they may."""
DATA = {
    "problems": "worked-sums", "preferences": "paired:backward-sums", "preference-degree": "described-things",
    "spar": "copied-letters", "specs": "tagged-sums",
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
    stages = watch_stages(monkeypatch)
    monkeypatch.setenv(
        "COUNTERPOINT_CACHE", str(tmp_path / "cache")
    )  # what was scored before is not scored again
    size, steps = (90, 16) if name in LARGE else (24, 4)
    kind = row(key).kind
    spec = (
        str(write(tmp_path / "food", ("train",)))
        if kind == "retrieval"
        else DATA.get(name, DATA[kind]) + f"?size={size}&validation=2&test=2"
    )
    data, model, method = task(kind).load_data(spec), tiny(seed=0), load(key).settings(**settings)
    model.causal.get_decoder().register_forward_pre_hook(count, with_kwargs=True)
    trained = Embedder(model, Shown("{text}", 2)) if kind == "retrieval" else model
    with Run(tmp_path / "run", budget=Budget(steps=steps), progress=False) as run:
        method.fit(trained, data, run)
    assert max(before_steps) == 4 * method.sequences()
    if copied is not None:
        assert len(made) == copied == method.copies
    asked = max((sequences for _, sequences in stages), default=0)
    assert asked == method.staged() or (name in ASKED and 0 < asked < method.staged())
    if asked:  # with weights in shards all of these would be whole
        assert max(models for models, sequences in stages if sequences) == 1 + method.copies


def watch_stages(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of every durable stage: how many language models are whole in it if weights are in shards, and sequences at once."""
    stages: list[list[int]] = []
    inside: list[list[int]] = []
    stage = Run.stage

    def held(self: Run, thing: Any) -> None:
        within = thing if isinstance(thing, nn.Module) else getattr(thing, "model", None)
        every = within.modules() if isinstance(within, nn.Module) else ()
        self._sharded += [
            each
            for each in every
            if isinstance(each, Running) and not any(each is other for other in self._sharded)
        ]

    def watched(self: Run, *given: Any, **named: Any) -> Any:
        stages.append([len(self._sharded), 0])
        inside.append(stages[-1])
        try:
            return stage(self, *given, **named)
        finally:
            inside.pop()

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(self: Running, ids: Any, *given: Any, **named: Any) -> Any:
            for each in inside:
                each[1] = max(each[1], len(ids))
            return call(self, ids, *given, **named)

        return called

    monkeypatch.setattr(Run, "_shard", held)
    monkeypatch.setattr(Run, "stage", watched)
    for name in ("forward", "decode"):
        monkeypatch.setattr(Running, name, counting(getattr(Running, name)))
    return stages


def test_weights_are_counted_as_the_model_has_them(tmp_path: Path) -> None:
    model = tiny(seed=0)
    sizes = sizes_of(model.save(tmp_path / "model"))
    assert sizes == count(model.causal)
    assert sizes.total == sum(p.numel() for p in model.parameters())
    rank = 3
    trained = sum(p.numel() for p in adapt(tiny(seed=0), rank).parameters() if p.requires_grad)
    assert peaks(sizes, Setup(lora_rank=rank))["step"]["gradients"] == 4 * trained == 4 * rank * sizes.linear


def test_shares_add_up_to_the_whole() -> None:
    sizes = count(tiny(seed=0).causal)
    alone = peaks(sizes, Setup(lora_rank=0), Demand(copies=2))["step"]
    each = peaks(sizes, Setup(lora_rank=0, processes=4, shard=True), Demand(copies=2))["step"]
    for part in ("weights", "gradients", "moments", "copies", "step"):
        assert 4 * each[part] == alone[part] > 0
    assert alone["copies"] == 2 * needed(sizes, Setup(lora_rank=0), Demand(copies=1))["copies"]
    assert needed(sizes, Setup(lora_rank=0, processes=4))["weights"] == alone["weights"]
    assert needed(sizes, Setup(micro=1))["activations"] < needed(sizes, Setup())["activations"]
    assert fits({"weights": 90.0}, 100.0)
    assert not fits({"weights": 91.0}, 100.0)


def test_gradients_and_activations_are_there_together_only_in_pieces() -> None:
    sizes = count(tiny(seed=0).causal)
    assert peaks(sizes, Setup(rows=4))["forward"]["gradients"] == 0
    pieces = peaks(sizes, Setup(rows=4, micro=1))
    assert pieces["forward"]["gradients"] == pieces["step"]["gradients"] == 4 * 64 * sizes.linear


def test_what_a_stage_gathers_is_the_model_and_its_copies() -> None:
    sizes, kept = count(tiny(seed=0).causal), Activations(token=1000.0, square=0.0, cached=100.0)
    spread = Setup(processes=4, shard=True, lora_rank=0, rows=4, length=8)
    found = peaks(sizes, spread, Demand(copies=2, sequences=2.0, staged=128.0), kept)
    scoring = found["scoring"]
    assert scoring["gathered"] == 3 * 4 * sizes.total
    assert scoring["activations"] == 128 * 8 * (1000 / sizes.blocks + 100)
    assert scoring["moments"] == 0 < found["step"]["moments"]  # all are scored before anything is trained
    assert needed(sizes, spread, Demand(copies=2, sequences=2.0, staged=128.0), kept) == scoring
    in_pieces = peaks(sizes, replace(spread, micro=1), Demand(sequences=2.0, staged=128.0), kept)
    assert in_pieces["scoring"]["activations"] == 2 * 8 * (1000 / sizes.blocks + 100)
    apart = peaks(sizes, replace(spread, shard=False), Demand(staged=128.0), kept)
    assert apart["scoring"]["gathered"] == 0
    sampling = peaks(sizes, spread, Demand(copies=2, samples=True), kept)["sampling"]
    assert sampling["gathered"] == 4 * sizes.total
    assert sampling["moments"] == 2 * sizes.total


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
    assert (one["staged"], two["staged"]) == (0, 128)
    kept, rows = activations_of(folder), 8 * 64
    assert kept is not None
    whole = rows * (kept.token + 64 * kept.square)
    assert of_rows["activations"] in (
        whole + rows * 32 * 4,
        whole / 2,
    )  # all of them, or where a backward ends
    sizes, setup = sizes_of(folder), Setup(lora_rank=0, rows=8, length=64)
    of_rows, of_pairs = (
        peaks(sizes, setup, Demand.of(load(key).settings()), activations_of(folder))["forward"]
        for key in ("sft", "dpo")
    )
    assert of_rows["activations"] == whole + rows * 32 * 4  # and the last hidden states
    assert of_pairs["activations"] == 2 * of_rows["activations"]
    for part in ("weights", "moments"):  # a pair passes the same model, which is trained once
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
