"""Trainings on clips, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import Command, check, command

from own_clips import folder

pytest.importorskip("soundfile")

SMALL = {"batch_size": 12, "per_class": 4, "learning_rate": 1e-3}
RUNS = {
    "joint": ("speech-varieties", {**SMALL, "noise": 0.1}),
    "two parts": ("speech-varieties", {**SMALL, "use": "pretraining", "contrast": "supcon", "projection": 8}),
}


def trained(name: str, clips: Path) -> Command:
    key, settings = RUNS[name]
    options = {"group": "prefix", "sample_rate": 8000}
    return command(
        key,
        settings,
        data=str(folder(clips)),
        data_options=options,
        model="conv-speech",
        budget={"steps": 60},
    )


FAST = ("joint",)
"""Killed in every test run; all of them, more often, in the slow test."""


@pytest.mark.parametrize("name", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path / "clips"), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ten_kills(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path / "clips"), tmp_path / "runs", trials=10, seed=7) >= 7
