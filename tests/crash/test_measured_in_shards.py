"""A run in shards is measured before, while and after it trains, and saved, with no process ever holding the whole model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from crash_harness import Command, command, complete
from safetensors.torch import load_file
from sharded_run import train

from counterpoint.models import lending, sharding
from counterpoint.models.language.characters import tiny
from counterpoint.study.store import Result

DATA = "worked-sums?size=16&validation=2&test=2&digits=1"
SETTINGS = {"batch_size": 5, "lora_rank": 0, "learning_rate": 1e-1}


def evaluations(out: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    return [{"step": each["step"], **each["evaluation"]} for each in lines if "evaluation" in each]


def close(mine: Any, expected: Any) -> None:
    assert mine.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            close(mine[name], value)
        else:
            assert mine[name] == pytest.approx(value, rel=1e-4), name


def test_two_processes_measure_and_save_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"data": DATA, "model": str(tiny(seed=0).save(tmp_path / "base"))}
    # The best of these is not the last: what is saved, and measured, is opened from the folder of the best.
    given |= {"budget": {"steps": 4}, "eval_every": 2, "before": True}
    complete(command("sft", SETTINGS, **given), tmp_path / "one")

    def never(*_: object) -> None:
        raise AssertionError("a whole model was asked for")

    monkeypatch.setattr(sharding, "gathered", never)
    complete(Command("sft", lambda out: train(out, "sft", SETTINGS, 2, 60.0, **given)), tmp_path / "two")
    one, two = (Result.read(tmp_path / name) for name in ("one", "two"))
    close(two.metrics, one.metrics)
    close(two.before, one.before)
    mine, expected = evaluations(tmp_path / "two"), evaluations(tmp_path / "one")
    assert [each["step"] for each in expected] == [2, 4]
    for each, other in zip(mine, expected, strict=True):
        close(each, other)
    folders = [tmp_path / name / "model" for name in ("one", "two")]
    assert {p.name for p in folders[0].iterdir()} == {p.name for p in folders[1].iterdir()}
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_one_that_cannot_write_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"data": DATA, "model": "characters", "budget": {"steps": 1}}

    def full(self: Any) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lending.deferred.Fetched, "whole", full)
    with pytest.raises(AssertionError, match="no space left to write"):
        complete(Command("sft", lambda out: train(out, "sft", SETTINGS, 2, 60.0, **given)), tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    assert "first process could not write" in (tmp_path / "out.1.error").read_text()
