"""Runs on pairs of sentences, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from crash_harness import Command, check, command

from example_files import questions

RUNS = {
    "sentence ranking": ("multiple-negatives", {"batch_size": 8, "symmetric": True, "learning_rate": 1e-3}),
    "sentence triplets": ("sentence-triplet", {"batch_size": 8, "learning_rate": 1e-3}),
    "sentence scores": ("cosent", {"batch_size": 8, "learning_rate": 1e-3}),
    "decoupled sentences": ("dcl", {"sentences.batch_size": 8, "sentences.learning_rate": 1e-3}),
    "global sentences": (
        "isogclr", {"sentences.batch_size": 8, "sentences.learning_rate": 1e-3, "temperature_rate": 0.3},
    ),
}  # fmt: skip


def trained(name: str, folder: Path) -> Command:
    key, settings = RUNS[name]
    rows = [
        {"sentence1": row["anchor"], "sentence2": row["positive"], "score": n % 3 / 2}
        if key == "cosent"
        else row
        for n, row in enumerate(questions())
    ]
    path = folder / f"{key}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return command(
        key, settings, kind="sentence-pairs", data=str(path), model="transformer", budget={"steps": 40}
    )  # fmt: skip


FAST = ("sentence ranking",)
"""Killed in every test run; all of them, more often, in the slow test."""


@pytest.mark.parametrize("name", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path), tmp_path / "runs", trials=20, seed=7) >= 15
