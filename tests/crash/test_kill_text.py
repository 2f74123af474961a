"""Runs on texts, killed with SIGKILL at random moments in either phase, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import Command, check, command

from counterpoint.models.text.transformer import fresh_transformer
from texts_made_up import rows, write_csv

RUNS = {
    "labels": ("contrastive-primer", {"batch_size": 16, "mix": 0.3}),
    "views": ("contrastive-primer", {"batch_size": 16, "objective": "triplet_cos", "hide": 0.2}),
    "classifier": ("text-classifier", {"batch_size": 16}),
    "distilled": (
        "distiller",
        {
            "mapping": "emd",
            "augment.mixup": True,
            "augment.swap": True,
            "training.batch_size": 8,
            "teacher.model": "four",
        },
    ),
    "parts": (
        "autodistil",
        {
            "training.batch_size": 8,
            "spaces": (
                "layers=2-3 width=12-16/4 ratio=2 heads=2",
                "layers=1 width=8-12/4 ratio=2 heads=1",
            ),
        },
    ),
}


def trained(name: str, folder: Path) -> Command:
    key, settings = RUNS[name]
    data = write_csv(folder / "mails.csv", rows(200))
    if key in ("distiller", "autodistil"):
        words = sorted({word for row in rows(200) for word in row["text"].split()})
        fresh_transformer(words, layers=4, width=16, heads=2, seed=1).save_pretrained(folder / "four")
        name = "teacher" if key == "autodistil" else "teacher.model"
        settings, start = {**settings, name: str(folder / "four")}, str(folder / "four")
        model = start if key == "autodistil" else f"{start}:2"
        return command(key, settings, data=data, model=model, budget={"steps": 24})
    return command(
        key, settings, data=data, data_options={"labelled": 0.5}, model="words", budget={"steps": 80}
    )


FAST = ("classifier", "views")
"""Killed in every test run; all of them, more often, in the slow test."""


@pytest.mark.parametrize("name", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ten_kills(tmp_path: Path, name: str) -> None:
    assert check(trained(name, tmp_path), tmp_path / "runs", trials=10, seed=7) >= 7
