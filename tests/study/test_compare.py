"""Studies: paired seeds, equal tuning on validation only, every finished run reused, jobs in processes of their own."""

import json
from dataclasses import replace

import pytest
from toy_methods import Logistic, Nothing

from counterpoint.errors import CounterpointError
from counterpoint.study import single
from counterpoint.study.compare import compare, resume
from counterpoint.study.plan import TUNING_SEED, Entry, Plan, stored_plan
from counterpoint.study.single import execute
from counterpoint.study.store import Result, stored_recipe
from counterpoint.training import Interrupted


@pytest.fixture
def plan(recipe):
    def build(**rest):
        entries = [
            Entry(name="toy-logistic", recipe=recipe(), title="learns", tune=rest.pop("tune", {})),
            Entry(name="toy-nothing", recipe=recipe(method=Nothing()), title="does not", baseline=True),
        ]
        return Plan(**{"what": "compare", "entries": entries, "seeds": 3, **rest})

    return build


def test_differences_are_paired_and_taken_against_the_baseline(plan, tmp_path):
    summary = compare(plan(), tmp_path / "study")
    assert summary["baseline"] == "toy-nothing"
    assert not summary["baseline_is_best"]
    assert summary["ranked"][0] == "toy-logistic"
    arms = summary["arms"]
    by_hand = [
        a["metrics"]["accuracy"] - b["metrics"]["accuracy"]
        for a, b in zip(arms["toy-logistic"]["runs"], arms["toy-nothing"]["runs"])
    ]
    difference = summary["differences"]["accuracy"]["toy-logistic"]
    assert difference["values"] == by_hand
    assert difference["mean"] == pytest.approx(sum(by_hand) / 3)
    assert summary["lower_is_better"] == ["error"]
    assert summary["before"]["accuracy"]["n"] == 3
    assert (tmp_path / "study" / "runs" / "toy-logistic" / "seed-0" / "model").exists()
    assert not (tmp_path / "study" / "runs" / "toy-logistic" / "seed-1" / "model").exists()
    stored = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert stored["arms"].keys() == arms.keys()


def test_data_without_the_first_metric_are_ranked_by_the_next(plan, tmp_path, monkeypatch):
    from toy_task import ToyTask

    measured = ToyTask.evaluate

    def unlabelled(self, *given, **options):
        right = measured(self, *given, **options)["accuracy"]
        return {"spread": 2 * right, "error": 1 - right}

    monkeypatch.setattr(ToyTask, "evaluate", unlabelled)
    with pytest.raises(CounterpointError, match=r"could not be measured by accuracy: there is spread, error"):
        compare(plan(seeds=2), tmp_path / "nothing")
    monkeypatch.setattr(ToyTask, "otherwise", ("elsewhere", "spread"), raising=False)
    summary = compare(plan(seeds=2, trials=2, tune={"learning_rate": [0.01, 1.0]}), tmp_path / "study")
    assert summary["primary"] == summary["tune_by"] == "spread"
    assert summary["ranked"][0] == "toy-logistic"
    tuning = summary["arms"]["toy-logistic"]["tuning"]
    assert tuning["chosen"]["value"] == max(trial["value"] for trial in tuning["trials"])
    assert tuning["chosen"]["value"] > 1  # no accuracy is
    assert Result.read(tmp_path / "study" / "runs" / "toy-logistic" / "seed-0").primary == "spread"


def test_the_same_seed_starts_both_arms_from_the_same_weights(plan, tmp_path):
    import toy_task

    started = []
    original = toy_task.ToyTask.load_model

    def spy(self, spec, data, seed):
        model = original(self, spec, data, seed)
        started.append((seed, single.weights_digest(model)))
        return model

    toy_task.ToyTask.load_model = spy
    try:
        compare(plan(), tmp_path / "study")
    finally:
        toy_task.ToyTask.load_model = original
    assert len(started) == 6
    assert len(set(started)) == 3


def test_stopped_anywhere_the_same_command_reuses_what_is_finished(plan, tmp_path, monkeypatch):
    whole = compare(plan(), tmp_path / "whole")
    monkeypatch.setenv("TOY_STOP_AT", "4")
    with pytest.raises(Interrupted):
        compare(plan(), tmp_path / "cut")
    assert not (tmp_path / "cut" / "summary.json").exists()
    again = resume(tmp_path / "cut")
    for name in whole["arms"]:
        assert [r["metrics"] for r in again["arms"][name]["runs"]] == [
            r["metrics"] for r in whole["arms"][name]["runs"]
        ]
    monkeypatch.setattr(Logistic, "fit", lambda *_: pytest.fail("fitted again"))
    monkeypatch.setattr(Nothing, "fit", lambda *_: pytest.fail("fitted again"))
    assert resume(tmp_path / "cut")["ranked"] == whole["ranked"]


def test_more_seeds_add_runs_and_another_budget_is_refused(plan, recipe, tmp_path):
    compare(plan(seeds=2), tmp_path / "study")
    kept = (tmp_path / "study" / "runs" / "toy-nothing" / "seed-0" / "result.json").stat().st_mtime_ns
    assert len(compare(plan(seeds=4), tmp_path / "study")["seeds"]) == 4
    assert (tmp_path / "study" / "runs" / "toy-nothing" / "seed-0" / "result.json").stat().st_mtime_ns == kept
    other = Plan(what="compare", entries=[Entry(name="toy-logistic", recipe=recipe(budget={"steps": 3}))])
    with pytest.raises(CounterpointError, match=r"toy-logistic.budget.steps: 12 there, 3 asked for"):
        compare(other, tmp_path / "study")


def test_tuning_reads_validation_only_and_tries_the_given_settings_first(plan, tmp_path, monkeypatch):
    import toy_task

    split_seen = []
    original = toy_task.ToyTask.evaluate

    def spy(self, model, data, split, seed=0):
        split_seen.append((split, seed))
        return original(self, model, data, split, seed)

    monkeypatch.setattr(toy_task.ToyTask, "evaluate", spy)
    tune = {"learning_rate": (0.001, 2.0), "mode": ["plain", "sharp"]}
    summary = compare(plan(tune=tune, trials=5), tmp_path / "study")
    tuning = summary["arms"]["toy-logistic"]["tuning"]
    assert len(tuning["trials"]) == 5
    assert tuning["trials"][0]["settings"] == {}
    values = [t["value"] for t in tuning["trials"]]
    assert tuning["chosen"]["value"] == max(values)
    assert all(seed == TUNING_SEED for split, seed in split_seen if split == "validation")
    assert all(seed < TUNING_SEED for split, seed in split_seen if split == "test")
    chosen = tuning["chosen"]["settings"]
    used = summary["arms"]["toy-logistic"]["settings"]
    assert all(used[name] == value for name, value in chosen.items())
    assert summary["arms"]["toy-nothing"]["tuning"] is None
    # A second pass asks Optuna for the same trials and finds them all on disk.
    monkeypatch.setattr(Logistic, "fit", lambda *_: pytest.fail("fitted again"))
    again = compare(plan(tune=tune, trials=5), tmp_path / "study")
    assert again["arms"]["toy-logistic"]["tuning"] == tuning


def test_the_final_runs_are_trained_with_what_tuning_chose(recipe, tmp_path):
    entry = Entry(
        name="slow", recipe=recipe(method=Logistic(learning_rate=1e-6)), tune={"learning_rate": [1e-5, 0.7]}
    )
    summary = compare(Plan(what="compare", entries=[entry], trials=2, seeds=2), tmp_path / "study")
    arm = summary["arms"]["slow"]
    assert arm["tuning"]["chosen"]["settings"] == {"learning_rate": 0.7}
    assert arm["settings"]["learning_rate"] == 0.7
    for seed in range(2):
        run = tmp_path / "study" / "runs" / "slow" / f"seed-{seed}"
        assert stored_recipe(run).settings["learning_rate"] == 0.7
        alone = execute(replace(stored_recipe(run), settings=arm["settings"]), tmp_path / f"alone-{seed}")
        assert arm["runs"][seed]["metrics"]["accuracy"] == alone.metrics["test"]["accuracy"] > 0.7


def test_a_small_grid_is_tried_whole(plan, tmp_path):
    tune = {"mode": ["plain", "sharp"], "smooth": [False, True]}
    with pytest.raises(CounterpointError, match="'toy-logistic' has 4 configurations for 8 trials"):
        compare(plan(tune=tune, trials=8, seeds=1), tmp_path / "study")
    assert not (tmp_path / "study").exists()
    summary = compare(plan(tune=tune, trials=4, seeds=1), tmp_path / "study")
    tried = [t["settings"] for t in summary["arms"]["toy-logistic"]["tuning"]["trials"]]
    assert len(tried) == 4
    assert {(t.get("mode", "plain"), t.get("smooth", False)) for t in tried} == {
        ("plain", False),
        ("plain", True),
        ("sharp", False),
        ("sharp", True),
    }


def test_tuning_goes_by_the_metric_and_the_seeds_it_is_told(recipe, tmp_path):
    tune = {"learning_rate": [0.01, 1.0]}
    entry = Entry(name="toy-logistic", recipe=recipe(measure="toy_task:weight_norm"), tune=tune)
    asked = Plan(
        what="compare", entries=[entry], trials=2, seeds=1, tune_by="weight_norm", tuning_seeds=2, metrics=("error",)
    )  # fmt: skip
    summary = compare(asked, tmp_path / "study")
    assert (summary["tune_by"], summary["tuning_seeds"]) == ("weight_norm", 2)
    folder, tuning = tmp_path / "study" / "tuning" / "toy-logistic", summary["arms"]["toy-logistic"]["tuning"]
    assert [trial["settings"] for trial in tuning["trials"]] == [
        {"learning_rate": 0.01},
        {"learning_rate": 1.0},
    ]
    assert tuning["examples"] == 80
    for trial in tuning["trials"]:
        places = [folder / f"trial-{trial['number']:03d}{suffix}" for suffix in ("", "-1")]
        assert [stored_recipe(place).seed for place in places] == [TUNING_SEED, TUNING_SEED + 1]
        figures = [Result.read(place).figure("weight_norm", "validation") for place in places]
        assert figures[0] != figures[1]
        assert trial["value"] == pytest.approx(sum(figures) / 2)
    assert tuning["chosen"]["value"] == max(trial["value"] for trial in tuning["trials"])
    assert stored_plan(tmp_path / "study") == asked
    with pytest.raises(CounterpointError, match="another study"):
        compare(replace(asked, tune_by=None), tmp_path / "study")
    with pytest.raises(CounterpointError, match="less is better"):
        compare(replace(asked, tune_by="error"), tmp_path / "other")
    with pytest.raises(CounterpointError, match="tuning_seeds=0"):
        replace(asked, tuning_seeds=0)


def test_a_failed_trial_counts_and_loses(plan, tmp_path):
    summary = compare(plan(tune={"hint": [-1.0, 1.0]}, trials=2, seeds=1), tmp_path / "study")
    tuning = summary["arms"]["toy-logistic"]["tuning"]
    assert tuning["failed"] == 1
    assert tuning["chosen"]["settings"].get("hint") != -1.0


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_when_every_trial_fails_the_study_says_which_arm_and_why(plan, tmp_path, jobs):
    asked = plan(tune={"hint": [10.0, 11.0]}, trials=2, seeds=1)
    with pytest.raises(
        CounterpointError,
        match=r"arm 'toy-logistic': none of 2 .* could be finished; the first: hint=1\d\.0; expected",
    ):
        compare(asked, tmp_path / "study", jobs=jobs)


def test_two_processes_give_the_figures_of_one(plan, tmp_path):
    one = compare(plan(seeds=2), tmp_path / "one")
    two = compare(plan(seeds=2), tmp_path / "two", jobs=2)
    for name in one["arms"]:
        figures = [[r["metrics"] for r in s["arms"][name]["runs"]] for s in (one, two)]
        assert figures[0] == figures[1]


@pytest.mark.slow
def test_an_error_in_a_process_is_the_same_message(plan, recipe, tmp_path):
    wrong = Plan(
        what="compare", entries=[Entry(name="bad", recipe=recipe(method=Logistic(hint=12.0)))], seeds=1
    )
    with pytest.raises(CounterpointError, match="hint=12.0; expected at most 9"):
        compare(wrong, tmp_path / "study", jobs=2)


def test_wrong_data_is_said_before_anything_is_written(recipe, tmp_path):
    wrong = Plan(what="compare", entries=[Entry(name="a", recipe=recipe(data="pionts"))])
    with pytest.raises(CounterpointError, match="pionts"):
        compare(wrong, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_what_an_arm_refuses_is_said_before_any_arm_is_trained(recipe, tmp_path):
    entries = [
        Entry(name="good", recipe=recipe()),
        Entry(name="bad", recipe=recipe(method=Logistic(hint=99.0))),
    ]
    with pytest.raises(CounterpointError, match="hint=99.0; 80 points take no such hint"):
        compare(Plan(what="compare", entries=entries, seeds=1), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_plan_survives_its_folder(plan, tmp_path):
    mine = plan(tune={"learning_rate": (0.01, 1.0), "mode": ["plain"]}, trials=1, seeds=1, metrics=("error",))
    compare(mine, tmp_path / "study")
    again = stored_plan(tmp_path / "study")
    assert again.as_dict() == mine.as_dict()
    assert again.entries[0].tune == {"learning_rate": (0.01, 1.0), "mode": ["plain"]}
    assert Result.read(tmp_path / "study" / "runs" / "toy-logistic" / "seed-0").primary == "accuracy"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"seeds": 0}, "seeds=0"),
        ({"trials": -1}, "trials=-1"),
        ({"baseline": "toy-logistik"}, "did you mean 'toy-logistic'"),
        ({"keep": "some"}, "keep='some'"),
        ({"metrics": ("acuracy",)}, "acuracy"),
    ],
)
def test_wrong_plans_are_explained(plan, tmp_path, rest, said):
    with pytest.raises(CounterpointError, match=said):
        compare(plan(**rest), tmp_path / "study")


@pytest.mark.parametrize("finishes", [False, True])
def test_a_study_whose_first_run_fails_leaves_nothing_behind(recipe, tmp_path, finishes):
    bad = Entry(name="bad", recipe=recipe(method=Logistic(hint=12.0)))
    good = Entry(name="good", recipe=recipe())
    out = tmp_path / "study"
    out.mkdir()
    (out / ".hidden").write_text("a person's own")
    with pytest.raises(CounterpointError, match="hint=12.0; expected at most 9"):
        compare(Plan(what="compare", entries=[good, bad] if finishes else [bad, good], seeds=1), out)
    if finishes:  # what is finished stays, and the same command goes on
        assert (out / "study.json").exists()
        assert (out / "runs/good/seed-0/result.json").exists()
        return
    assert [path.name for path in out.iterdir()] == [".hidden"]
    compare(Plan(what="compare", entries=[good], seeds=1), out)
