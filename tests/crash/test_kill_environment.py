"""Runs that act and ask, killed with SIGKILL at random moments, end with the unbroken run's bits: the replay is state."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import check

from counterpoint.methods.catalog import load, row
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute


def command(
    key: str, data: str, model: str, steps: int, options: dict[str, object], **settings: object
) -> object:
    method = load(key).settings(**settings)
    made = recipe_of(
        method, row(key).kind, data=data, data_options=options, model=model, budget={"steps": steps}, seed=1
    )
    return lambda out: execute(made, out, progress=False, checkpoint_seconds=0.1)


def lock() -> object:
    return command("contrastive-ucb", "lock", "auto", 100, {}, rounds=20)


def lake() -> object:
    pytest.importorskip("gymnasium")
    return command("contrastive-ucb", "FrozenLake-v1", "auto", 100, {"horizon": 20}, rounds=20)


def deep() -> object:
    pytest.importorskip("gymnasium")
    settings = {"frames": 300, "warmup": 60, "segment": 50, "window": 3, "jumps": 2, "batch_size": 8}
    return command("spr-ucb", "CartPole-v1", "c51-16", 60, {}, **settings)


def queries() -> object:
    return command("sirl", "gridrobot", "encoder-6", 60, {}, queries=100)


CASES = {"lock": lock, "lake": lake, "deep": deep, "queries": queries}


@pytest.mark.parametrize("kind", ["lock"])
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    assert check(CASES[kind](), tmp_path / "runs", trials=2, seed=0) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_ten_kills(tmp_path: Path, kind: str) -> None:
    assert check(CASES[kind](), tmp_path / "runs", trials=10, seed=1) >= 5
