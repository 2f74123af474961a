"""Runs on pairs of two modalities, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crash_harness import Command, check, command

RUNS = {
    "temperatures": ("isogclr", {"bimodal": True, "temperature_rate": 0.1}),
    "learned temperature": ("clip", {}),
}


def trained(name: str, folder: Path) -> Command:
    key, settings = RUNS[name]
    partners = folder / "partners.npy"
    np.save(partners, np.random.default_rng(0).normal(size=(1797, 6)))
    return command(
        key,
        {"batch_size": 16, "dim": 8, **settings},
        data="digits",
        data_options={"partners": str(partners)},
        model="conv-small",
        budget={"steps": 40},
    )


FAST = ("learned temperature",)
"""Killed in every test run; all of them, more often, in the slow test."""


@pytest.mark.parametrize("name", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path), tmp_path / "runs", trials=20, seed=7) >= 15
