"""A run that is measured while it trains takes the same steps; the best model is what is saved; patience ends it; a kill changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import nn

import counterpoint
from counterpoint.errors import CounterpointError
from counterpoint.study import single
from counterpoint.study.store import Result
from example_files import RUNS, write

CONSTANT = ["interactions", "text", "regression", "images", "audio", "preferences"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write(folder)
    return folder


def trained(files: Path, kind: str, out: Path, **options: Any) -> Result:
    method, data, model, data_options, settings, _ = RUNS[kind]
    return counterpoint.run(
        method,
        data=str(files / data),
        data_options=data_options,
        model=model,
        settings=settings,
        out=out,
        progress=False,
        **{"steps": 6, "evaluate": False, **options},
    )


def bits(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("README.md", "evaluations.csv")
    }


def events(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


@pytest.mark.parametrize("kind", CONSTANT)
def test_measuring_changes_no_step(files: Path, tmp_path: Path, kind: str) -> None:
    trained(files, kind, tmp_path / "plain")
    trained(files, kind, tmp_path / "measured", eval_every=2, keep_model="last")
    assert bits(tmp_path / "measured" / "model") == bits(tmp_path / "plain" / "model")
    measured = [event for event in events(tmp_path / "measured") if "evaluation" in event]
    assert [event["step"] for event in measured] == [2, 4, 6]
    assert [event for event in events(tmp_path / "measured") if "evaluation" not in event] == events(
        tmp_path / "plain"
    )
    assert (tmp_path / "measured" / "best" / "config.json").is_file()


class Script:
    """Figures that follow a script, and the weights that each was given for."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.weights = list(values), []  # type: ignore[var-annotated]

    def __call__(self, recipe: Any, task: Any, model: nn.Module, *_: Any) -> Mapping[str, dict[str, float]]:
        assert recipe.splits in (("validation",), ())
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"validation": {"macro_ap": self.values.pop(0)}} if recipe.splits else {}


def weights(folder: Path) -> dict[str, Any]:
    return {**{f"encoder.{n}": v for n, v in load_file(folder / "model.safetensors").items()},
            **{f"head.{n}": v for n, v in load_file(folder / "head" / "model.safetensors").items()}}  # fmt: skip


def equal(folder: Path, state: dict[str, Any]) -> bool:
    stored = weights(folder)
    return stored.keys() <= state.keys() and all(
        bool((state[name] == value).all()) for name, value in stored.items()
    )


def test_the_best_model_is_saved(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([0.2, 0.9, 0.5, 0.4, 0.4])
    monkeypatch.setattr(single, "measure", script)
    trained(files, "text", tmp_path / "run", steps=8, eval_every=2)
    model = tmp_path / "run" / "model"
    assert equal(model, script.weights[1])
    assert not equal(model, script.weights[3])
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == [
        "model",
        "training",
    ]
    figures = json.loads((tmp_path / "run" / "training" / "figures.json").read_text())
    assert figures == {"best_step": 4.0, "best_validation": 0.9, "last_validation": 0.4}
    assert "the model of step 4 is saved" in (tmp_path / "run" / "messages.log").read_text()
    assert (model / "evaluations.csv").read_text().splitlines() == [
        "step,macro_ap",
        "2,0.2",
        "4,0.9",
        "6,0.5",
        "8,0.4",
    ]


def test_the_last_model_is_saved_where_none_was_better(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script([float("nan"), 0.3, 0.9])
    monkeypatch.setattr(single, "measure", script)
    trained(files, "text", tmp_path / "run", steps=5, eval_every=2)  # and after the fifth
    assert equal(tmp_path / "run" / "model", script.weights[2])


def test_patience_ends_the_training(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([0.5, 0.9, 0.8, 0.9, 0.1, 0.1])
    monkeypatch.setattr(single, "measure", script)
    result = trained(files, "text", tmp_path / "run", steps=100, eval_every=3, patience=2)
    assert result.spent["steps"] == 12
    assert equal(tmp_path / "run" / "model", script.weights[1])
    assert (
        "stopped after 12 steps: 2 measurements in a row" in (tmp_path / "run" / "messages.log").read_text()
    )


def test_adapters_of_the_best_are_saved_in_their_form(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.9, 0.1, 0.1])
    monkeypatch.setattr(
        single,
        "measure",
        lambda recipe, *_: {"validation": {"accuracy": next(values)}} if recipe.splits else {},
    )
    counterpoint.run(
        "dpo", data=str(files / "preferences.jsonl"), model="characters", settings={"lora_rank": 2}, steps=4, eval_every=2,
        save="adapter", evaluate=False, out=tmp_path / "run", progress=False,
    )  # fmt: skip
    assert (tmp_path / "run" / "model" / "adapter_config.json").is_file()
    assert "step 2 is saved" in (tmp_path / "run" / "messages.log").read_text()


def test_a_run_is_a_warm_start(files: Path, tmp_path: Path) -> None:
    trained(files, "text", tmp_path / "first")
    again = counterpoint.run(
        "text-classifier", data=str(files / "mails.csv"), model=tmp_path / "first", settings={"batch_size": 8}, steps=1,
        evaluate=False, out=tmp_path / "second", progress=False,
    )  # fmt: skip
    assert again.model == str(tmp_path / "first" / "model")
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "run.json").write_bytes((tmp_path / "first" / "run.json").read_bytes())
    with pytest.raises(CounterpointError, match="has no model yet; counterpoint resume"):
        counterpoint.run(
            "text-classifier", data=str(files / "mails.csv"), model=tmp_path / "open", out=tmp_path / "x"
        )


def test_wrong_options_are_refused_and_leave_nothing(files: Path, tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    for options, message in (
        ({"eval_every": 0}, "eval_every=0; expected a whole number of steps above 0"),
        ({"patience": 3}, "patience=3 rests on measurements during the training; give eval_every"),
        ({"keep_model": "last"}, "keep_model=last rests on measurements"),
        ({"eval_every": 2, "keep_model": "first"}, "expected best or last"),
    ):
        with pytest.raises(CounterpointError, match=message):
            trained(files, "text", tmp_path / "run", **options)
    assert sorted(os.listdir(tmp_path)) == before


def test_another_patience_is_another_run(files: Path, tmp_path: Path) -> None:
    trained(files, "text", tmp_path / "run", eval_every=2, patience=2)
    with pytest.raises(CounterpointError, match="holds another run"):
        trained(files, "text", tmp_path / "run", eval_every=2, patience=3)
