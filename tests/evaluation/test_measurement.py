"""Measurements that apply are taken, in their order; what applies to which model and data of every kind."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from counterpoint.data.environment.finite import load_game
from counterpoint.data.environment.stepped import load_lock_world
from counterpoint.data.images.load import Images, ImageSet
from counterpoint.errors import CounterpointError
from counterpoint.evaluation import environment, images, regression, speech, text, understanding
from counterpoint.evaluation.measurement import Measurement, everything, is_a, measured, ways
from counterpoint.models.environment.low_rank import LowRankModel
from counterpoint.models.images.classifier import Classified, fresh_heads
from counterpoint.models.images.encoders import SmallConv
from counterpoint.models.images.paired import paired
from counterpoint.models.images.projector import projected
from counterpoint.models.regression.tabular import Predictor, TableEncoder
from counterpoint.models.text.encoder import TextClassifier
from counterpoint.tasks.task import kinds, task

ROOT = Path(__file__).parents[2] / "src" / "counterpoint"


def test_what_applies_is_measured_in_order_and_shared_work_is_done_once() -> None:
    computed = []

    def work() -> int:
        computed.append(1)
        return 3

    def figure(name: str, applies: bool, way: str = "") -> Measurement[nn.Module, None]:
        return Measurement(
            applies=lambda model, data: applies,
            measure=lambda subject: {name: subject.once("work", work) + subject.seed},
            through={name: way} if way else {},
        )

    several = [figure("b", True, "probe"), figure("no", False, "names"), figure("a", True)]
    found = measured(several, nn.Identity(), None, "test", seed=2)
    assert list(found.items()) == [("b", 5), ("a", 5)]
    assert computed == [1]
    assert ways(several, nn.Identity(), None) == {"b": "probe"}


def test_another_split_and_an_unknown_model_are_refused() -> None:
    one = Measurement(applies=is_a(nn.Linear), measure=lambda subject: {"x": 0.0})
    with pytest.raises(CounterpointError, match="expected 'validation' or 'test'"):
        measured([one], nn.Linear(1, 1), None, "train")
    with pytest.raises(CounterpointError, match="no measurement applies to a Identity"):
        measured([one], nn.Identity(), None, "test")


def applying(module: object, model: nn.Module, data: object) -> list[str]:
    return [one.measure.__name__ for one in module.MEASUREMENTS if one.applies(model, data)]  # type: ignore[attr-defined]


def test_images() -> None:
    rows = torch.arange(6) % 2
    part = ImageSet(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), rows)
    labelled = Images(part, part, part, classes=("a", "b"))
    bare = ImageSet(part.pixels, torch.full((6,), -1))
    without = Images(bare, bare, bare, classes=())
    encoder = SmallConv()
    classified = Classified(encoder, fresh_heads(256, ["a", "b"], "", 1, ["plain"], 0))
    always = ["geometry", "views"]
    assert applying(images, encoder, labelled) == ["probe", "neighbours", *always]
    assert applying(images, encoder, without) == always
    assert applying(images, classified, labelled) == ["probe", "answers", "neighbours", *always]
    assert applying(images, projected(encoder), without) == [*always, "projections"]
    assert applying(images, paired(encoder, 4, dim=8), without) == ["partners", *always]


def test_tables_texts_and_sounds() -> None:
    table = TableEncoder(["a"], [0.0], [1.0])
    assert applying(regression, table, None) == ["probe", "representation"]
    assert applying(regression, Predictor(table), None) == ["predictions", "representation"]
    known, unknown = (
        SimpleNamespace(train=SimpleNamespace(labelled=torch.tensor([on]))) for on in (True, False)
    )
    classifier = TextClassifier.__new__(TextClassifier)
    assert applying(text, nn.Identity(), known) == ["probe", "zero_shot"]
    assert applying(text, nn.Identity(), unknown) == ["names", "zero_shot"]
    assert applying(text, classifier, unknown) == ["answers"]
    assert applying(speech, nn.Identity(), None) == ["probe", "representation"]
    assert applying(understanding, nn.Identity(), None) == []


def test_worlds_with_tables_and_without() -> None:
    for world in (load_lock_world(), load_game()):
        model = LowRankModel(
            world.states, world.actions, world.horizon, world.rank, world.opponents, world.stationary, seed=0
        )
        assert applying(environment, model, world) == ["exact", "model_error"]
        assert applying(environment, nn.Identity(), world) == []


@pytest.mark.parametrize("kind", sorted(set(kinds()) - {"toy"}))
def test_every_kind_lists_its_measurements(kind: str) -> None:
    assert task(kind).measurements  # type: ignore[attr-defined]


def test_no_task_asks_a_model_what_it_is_to_measure_it() -> None:
    for path in (ROOT / "tasks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name in ("evaluate", "measured_by"):
                assert "isinstance" not in ast.unparse(node), path


def test_everything_applies_to_everything() -> None:
    assert everything(nn.Identity(), None)
