"""GKD's own settings; what it shares with its relatives is tested with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.data.language.problems import load
from counterpoint.methods.baselines.gkd import GKD
from counterpoint.models.language.characters import tiny
from counterpoint.training import Budget, Run


def first_loss(out: Path, **settings: object) -> float:
    method = GKD.settings(
        **{"on_policy": 0.0, "lora_rank": 0, "batch_size": 4, "loss_temperature": 3.0} | settings
    )
    data = load("worked-sums?size=8&validation=2&test=2")
    with Run(out, seed=0, budget=Budget(steps=1), progress=False) as run:
        method.fit(tiny(seed=0), data, run)
    return float(json.loads((out / "events.jsonl").read_text().splitlines()[0])["loss"])


def test_the_temperatures_square_is_a_factor_when_wanted(tmp_path: Path) -> None:
    plain = first_loss(tmp_path / "plain")
    assert plain > 0
    assert first_loss(tmp_path / "squared", squared_temperature=True) == pytest.approx(9 * plain, rel=1e-5)
