"""Runs on pairs of two modalities, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crash_harness import check

from counterpoint.methods.catalog import load, row
from counterpoint.study.recipe import recipe_of
from counterpoint.study.single import execute

RUNS = {
    "temperatures": ("isogclr", {"bimodal": True, "temperature_rate": 0.1}),
    "learned temperature": ("clip", {}),
}


def command(name: str, folder: Path) -> object:
    key, settings = RUNS[name]
    partners = folder / "partners.npy"
    np.save(partners, np.random.default_rng(0).normal(size=(1797, 6)))
    method = load(key).settings(batch_size=16, dim=8, **settings)
    made = recipe_of(
        method, row(key).kind, data="digits", data_options={"partners": str(partners)}, model="conv-small",
        budget={"steps": 40}, seed=1,
    )  # fmt: skip
    return lambda out: execute(made, out, progress=False, checkpoint_seconds=0.1)


@pytest.mark.parametrize("name", RUNS)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(command(name, tmp_path), tmp_path / "runs", trials=2, seed=0) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills(tmp_path: Path, name: str) -> None:
    assert check(command(name, tmp_path), tmp_path / "runs", trials=20, seed=7) >= 15
