"""Puts the toy kind of data and its methods where studies and their worker processes find them."""

import sys
from pathlib import Path

import pytest

TOYS = str(Path(__file__).parents[1] / "toys")
if TOYS not in sys.path:
    sys.path.insert(0, TOYS)


@pytest.fixture(autouse=True)
def toy_kind(monkeypatch):
    from counterpoint.tasks import task

    monkeypatch.setitem(task._modules, "toy", "toy_task")


@pytest.fixture
def recipe():
    from toy_methods import Logistic

    from counterpoint.study.recipe import recipe_of

    def build(method=None, **rest):
        return recipe_of(
            method or Logistic(),
            "toy",
            **{"data": "points", "model": "linear", "budget": {"steps": 12}, **rest},
        )

    return build
