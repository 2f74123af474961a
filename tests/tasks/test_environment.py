"""The model of a world: fresh ones fit its sort, sizes are from 1 on, saved ones come back to worlds of their size only."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.tasks.task import task

TASK = task("environment")


@pytest.mark.parametrize("spec", ["low-rank-0", "c51-0", "low-rank--1", "low-rank-x"])
def test_a_size_below_one_is_refused(spec: str) -> None:
    with pytest.raises(CounterpointError, match="numbers from 1"):
        TASK.load_model(spec, TASK.load_data("lock"), 0)


def test_a_fresh_model_is_of_the_worlds_size_or_the_one_asked_for() -> None:
    world = TASK.load_data("lock")
    plain, two = (TASK.load_model(spec, world, 0) for spec in ("auto", "low-rank-2"))
    assert isinstance(plain, LowRankModel)
    assert isinstance(two, LowRankModel)
    assert (plain.dimension, two.dimension) == (world.rank, 2)
    with pytest.raises(CounterpointError, match="no vectors"):
        TASK.load_model("c51", world, 0)


def test_a_saved_model_is_for_worlds_of_its_size(tmp_path: Path) -> None:
    lock = TASK.load_data("lock")
    TASK.save_model(TASK.load_model("auto", lock, 0), tmp_path / "model")
    assert isinstance(TASK.load_model(str(tmp_path / "model"), lock, 0), LowRankModel)
    with pytest.raises(CounterpointError, match="world of size 9 with 4 actions"):
        TASK.load_model(str(tmp_path / "model"), TASK.load_data("game"), 0)
