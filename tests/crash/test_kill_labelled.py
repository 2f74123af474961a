"""A classifier's run and one on numeric targets, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import check

from counterpoint.methods.catalog import load, row
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute

RUNS = {
    "classifier": ("sla", "digits", "conv-small", 40, {"batch_size": 16, "mode": "sla+sd"}),
    "mixtures": ("supremix", "diabetes", "mlp", 60, {"batch_size": 16, "bin_width": 25.0, "window": 60.0}),
}


def command(name: str) -> object:
    key, data, model, steps, settings = RUNS[name]
    method = load(key).settings(**settings)
    made = recipe_of(method, row(key).kind, data=data, model=model, budget={"steps": steps}, seed=1)
    return lambda out: execute(made, out, progress=False, checkpoint_seconds=0.1)


@pytest.mark.parametrize("name", RUNS)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(command(name), tmp_path / "runs", trials=2, seed=0) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills(tmp_path: Path, name: str) -> None:
    assert check(command(name), tmp_path / "runs", trials=20, seed=7) >= 15
