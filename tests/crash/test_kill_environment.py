"""Runs that act and ask, killed with SIGKILL at random moments, end with the unbroken run's bits: the replay is state."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import Command, check, command


def trained(
    key: str, data: str, model: str, steps: int, options: dict[str, object], **settings: object
) -> Command:
    return command(key, settings, data=data, data_options=options, model=model, budget={"steps": steps})


def lock() -> Command:
    return trained("contrastive-ucb", "lock", "auto", 100, {}, rounds=20)


def lake() -> Command:
    pytest.importorskip("gymnasium")
    return trained("contrastive-ucb", "FrozenLake-v1", "auto", 100, {"horizon": 20}, rounds=20)


def deep() -> Command:
    pytest.importorskip("gymnasium")
    settings = {"frames": 300, "warmup": 60, "segment": 50, "window": 3, "jumps": 2, "batch_size": 8}
    return trained("spr-ucb", "CartPole-v1", "c51-16", 60, {}, **settings)


def queries() -> Command:
    return trained("sirl", "gridrobot", "encoder-6", 60, {}, queries=100)


CASES = {"lock": lock, "lake": lake, "deep": deep, "queries": queries}


@pytest.mark.parametrize("kind", ["lock"])
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    assert check(CASES[kind](), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_ten_kills(tmp_path: Path, kind: str) -> None:
    assert check(CASES[kind](), tmp_path / "runs", trials=10, seed=1) >= 5
