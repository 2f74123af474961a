"""A finished run that is given more steps: the bits of one longer run, the schedule of the larger budget, or a reason why not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.data.language.problems import Problem, ProblemData, Problems
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import tiny
from counterpoint.study import single
from counterpoint.training import Run

CONSTANT = {"optimizer.schedule": "constant", "optimizer.warmup": 0.0, "learning_rate": 1e-2, "batch_size": 4}


class Killed(Exception):
    pass


def problems() -> ProblemData:
    rows = [Problem(f"{n}+1=", solution=str(n + 1), answer=str(n + 1)) for n in range(12)]
    return ProblemData("sums", *(Problems(part, "number") for part in (rows, rows[:2], rows[:2])))


def pairs() -> PreferenceData:
    rows = Preferences([Preference(f"{n}?", "yes", "no") for n in range(12)])
    return PreferenceData("made up", rows, rows, rows)


def train(key: str, out: Path, steps: int | None, *, keep: bool = True, **settings: Any) -> Any:
    return counterpoint.run(
        key, data=pairs() if key == "dpo" else problems(), model=tiny(seed=0), out=out, steps=steps, progress=False,
        evaluate=False, keep_checkpoints=keep, settings={**CONSTANT, "lora_rank": 0, **settings},
    )  # fmt: skip


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def rates(out: Path) -> list[float]:
    lines = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    return [line["learning_rate"] for line in lines if "loss" in line]


@pytest.mark.parametrize(("key", "first"), [("sft", 4), ("dpo", 3)])
def test_under_a_constant_rate_it_ends_with_the_bits_of_one_longer_run(
    key: str, first: int, tmp_path: Path
) -> None:
    train(key, tmp_path / "whole", 8)
    once = train(key, tmp_path / "grown", first)
    assert once.spent["steps"] == first
    more = train(key, tmp_path / "grown", 8)
    assert more.spent["steps"] == 8
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "grown")[name], value), name
    assert json.loads((tmp_path / "grown" / f"result-{first}.json").read_text())["spent"]["steps"] == first
    assert train(key, tmp_path / "grown", 8).spent == more.spent
    assert "constant, as one longer run's" in (tmp_path / "grown" / "messages.log").read_text()


@pytest.mark.parametrize("kill_at", [0, 2])
def test_killed_while_it_goes_on_it_ends_with_the_same_bits(
    kill_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("sft", tmp_path / "whole", 8)
    train("sft", tmp_path / "grown", 4)
    step, count = Run.step, iter(range(10**6))

    def counted(self: Run, *losses: Any, **given: Any) -> float:
        if next(count) == kill_at:
            raise Killed
        return step(self, *losses, **given)

    monkeypatch.setattr(Run, "step", counted)
    with pytest.raises(Killed):
        train("sft", tmp_path / "grown", 8)
    monkeypatch.setattr(Run, "step", step)
    assert not (tmp_path / "grown" / "result.json").exists()
    assert train("sft", tmp_path / "grown", 8).spent["steps"] == 8
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "grown")[name], value), name


def test_a_schedule_goes_on_as_that_of_the_larger_budget_and_this_is_said(tmp_path: Path) -> None:
    shape = {"optimizer.schedule": "cosine"}
    train("sft", tmp_path / "run", 4, **shape)
    assert rates(tmp_path / "run")[-1] < 0.2e-2
    train("sft", tmp_path / "run", 8, **shape)
    expected = [
        1e-2 * (1 + math.cos(math.pi * step / total)) / 2
        for total, steps in ((4, range(4)), (8, range(4, 8)))
        for step in steps
    ]
    assert rates(tmp_path / "run") == pytest.approx(expected)
    said = (tmp_path / "run" / "messages.log").read_text()
    assert (
        "goes on after 4 steps; the learning rate goes on at 0.005, by the schedule of the larger budget"
        in said
    )


def test_a_run_of_epochs_can_be_given_a_number_of_steps(tmp_path: Path) -> None:
    train("sft", tmp_path / "whole", 7)
    train("sft", tmp_path / "grown", None)
    assert train("sft", tmp_path / "grown", 7).spent["steps"] == 7
    assert all(
        torch.equal(weights(tmp_path / "grown")[name], value)
        for name, value in weights(tmp_path / "whole").items()
    )


def test_what_cannot_go_on_says_why_and_stays_as_it_is(tmp_path: Path) -> None:
    train("dpo", tmp_path / "part", 2)
    before = (tmp_path / "part" / "result.json").read_text()
    with pytest.raises(CounterpointError, match="cannot be given more: what it computed beforehand.*--model"):
        train("dpo", tmp_path / "part", 6)
    assert (tmp_path / "part" / "result.json").read_text() == before
    train("sft", tmp_path / "done", 4)
    for fewer in (2, 4):
        if fewer == 4:
            assert train("sft", tmp_path / "done", 4).spent["steps"] == 4
            continue
        with pytest.raises(CounterpointError, match="steps=2, and the run in .* has made 4 already"):
            train("sft", tmp_path / "done", fewer)
    with pytest.raises(CounterpointError, match=r"settings.learning_rate"):
        train("sft", tmp_path / "done", 8, learning_rate=0.5)
    train("sft", tmp_path / "bare", 2, keep=False)
    with pytest.raises(CounterpointError, match="with --keep-checkpoints can be given more in place"):
        train("sft", tmp_path / "bare", 4)
    rounds = {"max_new_tokens": 4, "rounds": 2, "answers": 2, "sft_epochs": 1.0, "seed_examples": 4}
    train("cream", tmp_path / "rounds", 6, **rounds)
    with pytest.raises(CounterpointError, match="its rounds divide the budget among them"):
        train("cream", tmp_path / "rounds", 12, **rounds)


def test_resume_takes_more_steps(tmp_path: Path) -> None:
    rows = "\n".join(json.dumps({"prompt": f"{n}=", "completion": str(n)}) for n in range(12))
    (tmp_path / "rows.jsonl").write_text(rows)
    call = ["run", "sft", "--data", str(tmp_path / "rows.jsonl"), "--model", "characters", "--no-evaluate", "--lora-rank", "0",
            "--optimizer.schedule", "constant", "--optimizer.warmup", "0", "--keep-checkpoints"]  # fmt: skip
    for name, steps in (("whole", "6"), ("grown", "2")):
        done = CliRunner().invoke(app, [*call, "--out", str(tmp_path / name), "--steps", steps])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["resume", str(tmp_path / "grown"), "--steps", "6"])
    assert done.exit_code == 0, done.output
    assert all(
        torch.equal(weights(tmp_path / "grown")[name], value)
        for name, value in weights(tmp_path / "whole").items()
    )
    assert single.resume(tmp_path / "grown").spent["steps"] == 6
    again = CliRunner().invoke(app, ["resume", str(tmp_path / "grown"), "--steps", "8"])
    assert again.exit_code == 0, again.output
