"""Searches over settings: Optuna's choice of a large grid, what matters, records, and AutoDistiller against data it has not seen."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterpoint.errors import CounterpointError
from counterpoint.study.compare import compare, resume
from counterpoint.study.report.page import write_report
from counterpoint.study.settings_search.auto_distiller import (
    AutoDistiller,
    expected_best,
    leave_one_out,
)
from counterpoint.study.settings_search.begin import candidates, plan_of, recommended
from counterpoint.study.settings_search.importance import importance
from counterpoint.study.settings_search.record import Record, inputs_of, read_records
from counterpoint.study.tune import Trial, search

GRID = {"loss": ["mse", "mi", "ce"], "mapping": ["skip", "last"], "prediction": ["ce", "mse"]}
WORTH = {"mse": 0.6, "mi": 0.9, "ce": 0.3, "skip": 0.05, "last": 0.0}


def figure(settings: dict[str, str]) -> float:
    return WORTH[settings["loss"]] + WORTH[settings["mapping"]]


def every() -> list[dict[str, str]]:
    return [dict(zip(GRID, point)) for point in itertools.product(*GRID.values())]


def record(name: str, scale: float = 1.0, shift: float = 0.0, **rest: object) -> Record:
    tried = [(settings, scale * figure(settings) + shift) for settings in every()]
    fields = {"method": "m", "data": name, "name": name, "model": "small", "metric": "a", "reference": 1.0}
    return Record(**{**fields, "tried": tried, "facts": {"rows": 100.0 * scale}, **rest})


def test_a_large_grid_is_searched_by_optuna_and_finds_what_is_good_with_fewer_trials_than_points() -> None:
    own = {"loss": "ce", "mapping": "last", "prediction": "ce", **{f"x{i}": 0 for i in range(3)}}
    ranges = {**GRID, **{f"x{i}": [0, 1, 2, 3] for i in range(3)}}
    asked: list[dict] = []

    def evaluate(block):
        asked.extend(settings for _, settings in block)
        return [figure({**own, **settings}) for _, settings in block]

    tried = search(ranges, own, 40, evaluate, adaptive=True)
    assert len(tried) == 40
    assert len({repr(sorted({**own, **t.settings}.items())) for t in tried}) == 40
    late = [t.value for t in tried[20:]]
    assert np.mean(late) > np.mean([figure({**own, **p}) for p in every()]) + 0.1
    again = search(ranges, own, 40, evaluate, adaptive=True)
    assert [t.settings for t in again] == [t.settings for t in tried]


def test_given_points_are_tried_as_they_are() -> None:
    points = every()[3:6]
    tried = search(GRID, {}, 3, lambda block: [figure(s) for _, s in block], points=points)
    assert [t.settings for t in tried] == points


def test_importance_is_that_of_the_variance_by_hand() -> None:
    trials = [Trial(i, settings, figure(settings)) for i, settings in enumerate(every())]
    shares = importance(GRID, {}, trials)
    losses = [np.mean([t.value for t in trials if t.settings["loss"] == loss]) for loss in GRID["loss"]]
    by_hand = np.var(losses) / np.var([t.value for t in trials])
    assert shares["loss"] == pytest.approx(by_hand, abs=0.03)
    assert shares["prediction"] < 0.02
    assert next(iter(shares)) == "loss"
    assert sum(shares.values()) == pytest.approx(1.0)


def test_importance_says_nothing_of_few_trials_or_of_equal_ones() -> None:
    trials = [Trial(i, settings, figure(settings)) for i, settings in enumerate(every())]
    assert importance(GRID, {}, trials[:4]) == {}
    assert importance(GRID, {}, [replace(t, value=0.5) for t in trials]) == {}


def test_failed_trials_are_left_out_of_importance() -> None:
    trials = [Trial(i, settings, figure(settings)) for i, settings in enumerate(every())]
    failed = [Trial(99, {"loss": "ce", "mapping": "skip", "prediction": "ce"}, None)]
    assert importance(GRID, {}, trials + failed) == importance(GRID, {}, trials)


def test_what_is_good_elsewhere_is_recommended_here() -> None:
    model = AutoDistiller([record("one"), record("two", 0.7), record("three", 0.9, 0.05)])
    best = model.recommend(record("new", 0.8), every(), top=3)
    assert {each.settings["loss"] for each in best} == {"mi"}
    assert all(each.low <= each.ratio <= each.high for each in best)
    assert model.count == 36


def test_left_out_sets_are_judged_by_what_was_truly_reached_there() -> None:
    rows = leave_one_out([record("one"), record("two", 0.7), record("three", 0.9)], top=4)
    assert [row.name for row in rows] == ["one", "two", "three"]
    truth = [figure(settings) for settings in every()]
    assert rows[0].chance == pytest.approx(np.mean(truth))
    assert rows[0].recommended == pytest.approx(np.mean(sorted(truth)[-4:]))
    assert rows[0].best == pytest.approx(0.95)
    draws = [max(draw) for draw in itertools.combinations(truth, 4)]
    assert rows[0].best_by_chance == pytest.approx(np.mean(draws))
    assert expected_best(truth, 4) == pytest.approx(np.mean(draws))
    assert all(row.recommended > row.chance for row in rows)


def test_records_that_contradict_are_no_better_than_chance() -> None:
    other = record("two")
    turned = replace(other, tried=[(settings, 1.0 - value) for settings, value in other.tried])
    assert not any(row.recommended > row.chance for row in leave_one_out([record("one"), turned], top=4))
    assert leave_one_out([record("one"), record("one", 0.9)]) == []


def test_ratios_are_of_the_teachers_figure() -> None:
    assert record("one", reference=0.5).ratio(0.25) == 0.5


def test_inputs_are_alike_where_words_are() -> None:
    class Texts:
        def __init__(self, *texts: str) -> None:
            self.train = type("Part", (), {"texts": texts})()

    tea, more, rain = (
        np.array(inputs_of(Texts(*given)))
        for given in (("tea with milk", "tea"), ("tea with milk",), ("rain falls",))
    )
    assert len(tea) == 100
    assert tea @ more > tea @ rain


def test_candidates_of_a_range_are_spread_over_it() -> None:
    values = [each["rate"] for each in candidates({"rate": (0.001, 0.1)})]
    assert values == pytest.approx([0.001, 0.001 * 10**0.5, 0.01, 0.01 * 10**0.5, 0.1])
    assert [each["n"] for each in candidates({"n": (1, 3)})] == [1, 2, 3]
    many = candidates({f"x{i}": list(range(9)) for i in range(5)})
    assert len(many) == 2000


@pytest.fixture
def searched(recipe, tmp_path: Path):
    from toy_methods import Logistic

    def run(name: str = "search", **rest):
        mine = recipe(**rest)
        ranges = {"learning_rate": [0.001, 0.01, 0.1, 0.5, 1.0], "mode": ["plain", "sharp"]}
        plan = plan_of(mine, Logistic(), ranges, 9, 2)
        return compare(plan, tmp_path / name), tmp_path / name

    return run


def test_a_search_is_a_study_with_a_record_that_resumes_and_is_drawn(searched) -> None:
    summary, out = searched()
    stored = json.loads((out / "summary.json").read_text())
    assert len(stored["record"]["tried"]) == 9
    assert stored["record"]["reference"] == max(each["value"] for each in stored["record"]["tried"])
    assert set(stored["record"]["tried"][0]["settings"]) == {"learning_rate", "mode"}
    assert sum(stored["arms"]["toy-logistic"]["tuning"]["importance"].values()) == pytest.approx(1.0)
    (out / "summary.json").unlink()
    assert resume(out)["record"] == summary["record"]
    page = write_report([out]).read_text()
    assert "What matters" in page
    assert "Importance of settings" in page
    assert page.count("<rect") == 4


def test_records_of_searches_recommend_on_other_data(searched, recipe) -> None:
    from toy_task import TASK

    _, out = searched()
    records = read_records([out], "toy-logistic")
    data = TASK.load_data("points")
    ranges = {"learning_rate": [0.001, 0.5], "mode": ["plain", "sharp"]}
    best, rows = recommended(recipe(), ranges, data, records, 2)
    assert len(best) == 2
    assert rows == []
    with pytest.raises(CounterpointError, match="of dcl itself"):
        read_records([out], "dcl")
    with pytest.raises(CounterpointError, match="no finished search"):
        read_records([out / "tuning"], "toy-logistic")
    with pytest.raises(CounterpointError, match="top=0"):
        recommended(recipe(), ranges, data, records, 0)


def test_a_search_needs_something_to_search(recipe) -> None:
    from toy_methods import Nothing

    with pytest.raises(CounterpointError, match="names no range"):
        plan_of(recipe(method=Nothing()), Nothing(), None, 9, 2)
    with pytest.raises(CounterpointError, match="trials=1"):
        plan_of(recipe(), Nothing(), {"x": [1, 2]}, 1, 2)
