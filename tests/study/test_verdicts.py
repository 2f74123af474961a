"""No verdict on unequal terms: other data, another budget, another measurement; bounds by a metric's name."""

import json

import pytest

from counterpoint.study import rejudge as rejudging
from counterpoint.study.evidence.ranges import bounds, contrast_bounds
from counterpoint.study.verdicts import UNEQUAL, arm_figures, differences, unequal
from counterpoint.study.wording import sentence


def arm(values, **rest):
    runs = [
        {"seed": i, "metrics": {"accuracy": v}, "spent": {"steps": 60, "examples": 600}}
        for i, v in enumerate(values)
    ]
    return {"runs": runs, "data": "d", "data_fingerprint": "f", "budget": {"steps": 60}, **rest}


LOW, HIGH = [0.5, 0.51, 0.52, 0.5], [0.9, 0.92, 0.91, 0.93]


def compared(**rest):
    return differences({"a": arm(HIGH, **rest), "b": arm(LOW)}, "accuracy", "b")["a"]


def test_equal_terms_give_a_verdict():
    assert compared()["verdict"] == "above"
    assert compared()["unequal"] is None


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ({"budget": {"steps": 1500}}, "budgets differ: 1,500 steps against 60 steps"),
        ({"budget": {"examples": 60}}, "budgets differ"),
        ({"data": "e", "data_fingerprint": "g"}, "other data: e against d"),
        ({"data_fingerprint": "g"}, "other data: d with other options"),
        ({"measured": {"accuracy": "probe"}}, "accuracy is measured differently: probe against own head"),
    ],
)
def test_unequal_terms_give_none(rest, reason):
    found = compared(**rest)
    assert found["verdict"] == UNEQUAL
    assert found["unequal"].startswith(reason)
    assert found["p_holm"] is None
    said = sentence("a", "b", found)
    assert "No verdict" in said
    assert "is better" not in said


def test_without_a_budget_what_was_spent_decides():
    def own(examples, steps=60):
        found = arm(HIGH, budget={})
        for run in found["runs"]:
            run["spent"] = {"steps": steps, "examples": examples}
        return found

    assert unequal(own(600), own(600)) is None
    assert unequal(own(600, steps=30), own(600)) is None  # larger batches, as many examples
    assert unequal(own(600), own(1200)) == "no common budget: 600 examples against 1,200"


def test_a_difference_that_holm_takes_back_is_no_verdict():
    arms = {
        "b": arm([0.0, 0.0, 0.0, 0.0]),
        "edge": arm([0.04, 0.2, 0.15, 0.1]),
        "other": arm([0.1, -0.1, 0.2, -0.2]),
    }
    alone = differences({name: arms[name] for name in ("b", "edge")}, "accuracy", "b")["edge"]
    both = differences(arms, "accuracy", "b")["edge"]
    assert alone["verdict"] == "above"
    assert both["low"] > 0
    assert both["p_holm"] > 0.05
    assert both["verdict"] == "unclear"
    assert "could be chance: no difference is shown" in sentence("edge", "b", both)


def test_an_accuracys_interval_stays_within_its_range():
    found = arm_figures(arm([0.97, 1.0, 0.99]), ["accuracy"])["accuracy"]
    assert found["high"] == 1.0
    assert (bounds("tail_recall@20"), bounds("asked_less_unseen")[1]) == ((0.0, 1.0), float("inf"))
    assert contrast_bounds("accuracy", {"a": 1.0, "b": -0.5, "c": -0.5}) == (-1.0, 1.0)


def test_two_seeds_and_equal_seeds_are_said_in_words():
    few = differences({"a": arm(HIGH[:2]), "b": arm(LOW[:2])}, "accuracy", "b")["a"]
    assert "too few for a verdict" in sentence("a", "b", few)
    same = differences({"a": arm([0.9] * 4), "b": arm([0.5] * 4)}, "accuracy", "b")["a"]
    assert "Without any spread" in sentence("a", "b", same)
    assert same["verdict"] == "unclear"


def test_a_judge_that_touches_a_raw_figure_is_stopped(tmp_path, monkeypatch):
    from counterpoint.study.reproduce import write_evidence

    content = {
        "key": "k", "baseline": "b", "metrics": ["accuracy"], "claims": [], "data": {}, "seeds": [0], "finished": "x",
        "arms": {"a": arm(HIGH), "b": arm(LOW)},
    }  # fmt: skip
    path = tmp_path / "k.json"
    write_evidence(path, content)
    before = path.read_text()

    def wrong(content, plan, earlier=(), reasons=None):
        changed = json.loads(json.dumps(content))
        changed["arms"]["a"]["runs"][0]["metrics"]["accuracy"] = 1.0
        return changed

    monkeypatch.setattr(rejudging, "judged", wrong)
    with pytest.raises(AssertionError, match="raw figure"):
        rejudging.rejudge(path, None)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("metric", "values", "low", "high"),
    [
        ("agreement@1", [0.996, 1.0, 0.999], 0.99, 1.0), ("mrr_seen", [1.0, 0.9, 1.0], 0.0, 1.0),
        ("group_score", [0.0, 0.01, 0.03], 0.0, 1.0), ("rank_agreement", [-0.9, -1.0, -0.99], -1.0, 1.0),
        ("cosine_between", [-1.0, -0.9, -1.0], -1.0, 1.0), ("frechet@4", [0.1, 3.0, 0.2], 0.0, float("inf")),
        ("average_wer", [0.0, 0.4, 0.1], 0.0, float("inf")), ("nonzeros", [0.0, 40.0, 1.0], 0.0, float("inf")),
    ],
)  # fmt: skip
def test_an_interval_ends_where_shares_distances_and_correlations_do(metric, values, low, high):
    runs = [{"seed": i, "metrics": {metric: v}, "spent": {}} for i, v in enumerate(values)]
    found = arm_figures({"runs": runs}, [metric])[metric]
    assert low <= found["low"] <= found["mean"] <= found["high"] <= high
    assert found["low"] == low or found["high"] == high
