"""What ``counterpoint plan`` counts: weights as the model has them, copies as the methods make them, shares that add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from counterpoint.methods.catalog import load
from counterpoint.models.language.characters import tiny
from counterpoint.models.language.language import adapt
from counterpoint.models.sizes import count, sizes_of
from counterpoint.study.memory import Setup, fits, launch, needed
from counterpoint.tasks.task import task
from counterpoint.teachers import copies
from counterpoint.training import Budget, Run

SAMPLED = {"batch_size": 4, "lora_rank": 0, "max_new_tokens": 2}
RUNS: dict[str, dict[str, Any]] = {
    "sft": {"batch_size": 4, "lora_rank": 0},
    "sdft": SAMPLED,
    "gkd": SAMPLED,
    "unisd": {**SAMPLED, "agreement.retriever": "tfidf"},
    "grpo": {**SAMPLED, "judge": "majority", "answers": 2},
}


@pytest.mark.parametrize("key", RUNS)
def test_copies_are_those_that_a_run_makes(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    copy = copies.snapshot
    monkeypatch.setattr(copies, "snapshot", lambda model: made.append(model) or copy(model))
    data = task("problems").load_data("worked-sums?size=16&validation=2&test=2")
    with Run(tmp_path, budget=Budget(steps=1), progress=False) as run:
        load(key).settings(**RUNS[key]).fit(tiny(seed=0), data, run)
    assert len(made) == load(key).copies


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
