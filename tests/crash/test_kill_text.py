"""Runs on texts, killed with SIGKILL at random moments in either phase, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import check

from counterpoint.methods.catalog import load, row
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute
from texts_made_up import rows, write_csv

RUNS = {
    "labels": ("contrastive-primer", {"batch_size": 16, "mix": 0.3}),
    "views": ("contrastive-primer", {"batch_size": 16, "objective": "triplet_cos", "hide": 0.2}),
    "classifier": ("text-classifier", {"batch_size": 16}),
}


def command(name: str, data: str) -> object:
    key, settings = RUNS[name]
    method = load(key).settings(**settings)
    made = recipe_of(
        method,
        row(key).kind,
        data=data,
        data_options={"labelled": 0.5},
        model="words",
        budget={"steps": 80},
        seed=1,
    )
    return lambda out: execute(made, out, progress=False, checkpoint_seconds=0.1)


@pytest.mark.parametrize("name", RUNS)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    data = write_csv(tmp_path / "mails.csv", rows(200))
    assert check(command(name, data), tmp_path / "runs", trials=2, seed=0) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ten_kills(tmp_path: Path, name: str) -> None:
    data = write_csv(tmp_path / "mails.csv", rows(200))
    assert check(command(name, data), tmp_path / "runs", trials=10, seed=7) >= 7
