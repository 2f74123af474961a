"""Vega with all its phases, killed with SIGKILL at random moments, ends with the unbroken run's bits."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from crash_harness import Command, check, command

WORDS = {"tea": "kettle cup leaf warm pot sugar", "sea": "wave salt boat storm fish sail"}


def vega(folder: Path) -> Command:
    draws = random.Random(0)
    lines = []
    for number in range(160):
        label = list(WORDS)[number % 2]
        chosen = draws.choices([*WORDS[label].split(), "the", "of", "and"], k=6)
        lines.append(json.dumps({"text": " ".join(chosen), "label": label}))
    (folder / "texts.jsonl").write_text("\n".join(lines))
    settings = {"batch_size": 8, "calibration.folds": 2, "learning_rate": 1e-3, "transduction.threshold": 0.3}
    return command("vega", settings, data=str(folder / "texts.jsonl"), model="deberta", budget={"steps": 36})


def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    assert check(vega(tmp_path), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    assert check(vega(tmp_path), tmp_path / "runs", trials=10, seed=7) >= 7
