"""Runs that are measured while they train, killed with SIGKILL at random moments, save the unbroken run's best model and stop where it stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import Command, check, command

from texts_made_up import rows, write_csv


def measured(folder: Path) -> Command:
    data = write_csv(folder / "mails.csv", rows(200))
    return command(
        "text-classifier",
        {"batch_size": 16},
        data=str(data),
        model="words",
        budget={"steps": 80},
        eval_every=3,
        patience=6,
    )


@pytest.mark.parametrize("trials", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, trials: int) -> None:
    assert check(measured(tmp_path), tmp_path / "runs", trials=trials, seed=trials) >= 1
    assert (tmp_path / "runs" / "unbroken" / "training" / "figures.json").exists()
