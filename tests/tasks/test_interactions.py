"""The task of interactions: options as text, reference models, saved folders, what it measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.errors import CounterpointError
from counterpoint.models.interactions.recommender import Recommender
from counterpoint.tasks.task import Task, task
from interaction_clusters import write_clusters


def test_load_save_evaluate(tmp_path: Path) -> None:
    found = task("interactions")
    assert isinstance(found, Task)
    data = found.load_data(
        str(write_clusters(tmp_path / "a.tsv", "user\titem\trating\ttime")),
        threshold="4",
        split="last",
        test="0.3",
    )
    assert any("at least 4" in note for note in data.describe())
    model = found.load_model("embeddings-16", data, seed=1)
    assert isinstance(model, Recommender)
    assert model.dimension == 16
    figures = found.evaluate(model, data, "test")
    assert {
        found.primary,
        "recall@20",
        "recall@10",
        "tail_share@20",
        "coverage@20",
        "uniformity",
    } <= figures.keys()
    found.save_model(model, tmp_path / "model")
    again = found.load_model(str(tmp_path / "model"), data, seed=5)
    assert found.evaluate(again, data, "test") == pytest.approx(figures)
    assert found.load_model("default", data, seed=0).dimension == 64


@pytest.mark.parametrize(
    ("options", "lesson"),
    [
        ({"treshold": 4}, "did you mean 'threshold'"),
        ({"threshold": "high"}, "threshold='high'"),
        ({"core": 2.5}, "core=2.5"),
    ],
)
def test_wrong_options_teach(tmp_path: Path, options: dict[str, object], lesson: str) -> None:
    with pytest.raises(CounterpointError, match=lesson):
        task("interactions").load_data(str(write_clusters(tmp_path / "a.tsv")), **options)


@pytest.mark.parametrize(
    ("spec", "lesson"),
    [("resnet", "embeddings-64"), ("embeddings-0", "at least 1"), ("/none/there", "no such folder")],
)
def test_wrong_models_teach(tmp_path: Path, spec: str, lesson: str) -> None:
    data = task("interactions").load_data(str(write_clusters(tmp_path / "a.tsv")))
    with pytest.raises(CounterpointError, match=lesson):
        task("interactions").load_model(spec, data, seed=0)
