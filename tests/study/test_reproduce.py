"""Evidence: claims checked seed by seed, a hash that notices a changed figure; ablations change one setting at a time."""

import json

import pytest
import toy_methods

from counterpoint.errors import CounterpointError
from counterpoint.study import ablate
from counterpoint.study import compare as comparing
from counterpoint.study.case import OF_SEED, Arm, Case, Claim
from counterpoint.study.compare import compare
from counterpoint.study.pages import table
from counterpoint.study.plan import TUNING_SEED
from counterpoint.study.reproduce import check_evidence, plan_of, reproduce, write_evidence


def build(key, settings):
    return {"toy-logistic": toy_methods.Logistic, "toy-nothing": toy_methods.Nothing}[key].settings(
        **settings
    )


def case(**rest):
    return Case(
        **{
            "key": "toy-logistic",
            "data": "points",
            "arms": {
                "learns": ("toy-logistic", {"batch_size": 8}),
                "short": Arm(method="toy-logistic", budget={"steps": 2}),
                "nothing": ("toy-nothing", {}),
            },
            "claims": (
                Claim.better("learning from labels beats shuffled labels", "learns", "nothing"),
                Claim.better("shuffled labels beat labels", "nothing", "learns"),
                Claim(
                    text="the error stays under a half", contrast={"learns": -1.0}, metric="error", above=-0.5
                ),
                Claim(
                    text="more than half of the gain needs more than 2 steps",
                    contrast={"learns": 1, "short": -1, "nothing": 0},
                    metric="accuracy",
                    above=5.0,
                ),
            ),
            "baseline": "nothing",
            "budget": {"steps": 20},
            "seeds": 4,
            "notes": ("toy",),
            **rest,
        }
    )


def test_claims_are_judged_by_their_interval(tmp_path):
    mine = case(measure=__import__("toy_task").weight_norm)
    found = reproduce(mine, plan_of(mine, build, "toy"), tmp_path / "work")
    verdicts = [(c["verdict"], c["opposite"]) for c in found["claims"]]
    assert verdicts == [("shown", False), ("not shown", True), ("shown", False), ("not shown", True)]
    first, third = found["claims"][0], found["claims"][2]
    runs = {name: [r["metrics"] for r in arm["runs"]] for name, arm in found["arms"].items()}
    assert first["values"] == [a["accuracy"] - b["accuracy"] for a, b in zip(runs["learns"], runs["nothing"])]
    assert first["low"] > 0
    assert third["mean"] == pytest.approx(-sum(r["error"] for r in runs["learns"]) / 4)
    assert third["low"] > -0.5
    assert "weight_norm" in found["metrics"]
    assert found["arms"]["short"]["budget"] == {"steps": 2}


def test_every_seed_may_have_a_split_of_its_own(tmp_path, monkeypatch):
    from toy_task import Points

    monkeypatch.setattr(
        comparing, "KEPT", 2
    )  # past seeds' data goes, and is loaded again where it is asked for
    mine = case(
        data_options={"shift": OF_SEED},
        arms={
            "learns": Arm(method="toy-logistic", tune={"learning_rate": [0.1, 0.2]}),
            "nothing": ("toy-nothing", {}),
        },
        claims=(),
        seeds=3,
        trials=2,
        tuning_seeds=2,
    )
    plan = plan_of(mine, build, "toy")
    found = reproduce(mine, plan, tmp_path / "work")

    def used(path):
        return json.loads((tmp_path / "work" / path / "result.json").read_text())["data"]["fingerprint"]

    for seed in range(3):
        own = Points(0.3, seed + 1).fingerprint()
        assert used(f"runs/learns/seed-{seed}") == used(f"runs/nothing/seed-{seed}") == own
    assert used("tuning/learns/trial-000") == Points(0.3, TUNING_SEED + 1).fingerprint()
    assert used("tuning/learns/trial-001-1") == Points(0.3, TUNING_SEED + 2).fingerprint()
    assert found["data"]["options"] == {"shift": OF_SEED}
    assert found["data"]["fingerprint"] == Points(0.3, 1).fingerprint()
    assert "3 seeds, each with a split of its own, 2 tuning trials" in table(found)
    fixed = case(seeds=2)
    assert "2 seeds; mean" in table(reproduce(fixed, plan_of(fixed, build, "toy"), tmp_path / "fixed"))
    monkeypatch.setattr(toy_methods.Logistic, "fit", lambda *_: pytest.fail("fitted again"))
    assert reproduce(mine, plan, tmp_path / "work")["arms"] == found["arms"]


def test_a_changed_figure_is_noticed(tmp_path):
    mine = case(seeds=2)
    path = tmp_path / "evidence" / "toy.json"
    write_evidence(path, reproduce(mine, plan_of(mine, build, "toy"), tmp_path / "work"))
    content = check_evidence(path)
    assert content["data"]["fingerprint"]
    assert content["environment"]["versions"]["torch"]
    content["arms"]["learns"]["runs"][0]["metrics"]["accuracy"] += 0.01
    path.write_text(json.dumps(content))
    with pytest.raises(CounterpointError, match="not what a reproduction wrote"):
        check_evidence(path)


def test_evidence_with_a_figure_that_is_no_number_keeps_its_hash(tmp_path):
    write_evidence(tmp_path / "e.json", {"key": "x", "mean": float("nan"), "värde": 0.1})
    assert check_evidence(tmp_path / "e.json")["mean"] is None


def test_claims_of_unknown_arms_and_metrics_are_explained(tmp_path):
    wrong = case(claims=(Claim.better("x", "learns", "nobody"),))
    with pytest.raises(CounterpointError, match="nobody"):
        plan_of(wrong, build, "toy")
    wrong = case(claims=(Claim.better("x", "learns", "nothing", metric="speed"),), seeds=1)
    with pytest.raises(CounterpointError, match="speed"):
        reproduce(wrong, plan_of(wrong, build, "toy"), tmp_path / "work")


def test_tuning_leaves_fixed_settings_alone():
    plan = plan_of(
        case(
            arms={
                "a": ("toy-logistic", {"learning_rate": 0.2}),
                "nothing": ("toy-nothing", {}),
                "b": ("toy-logistic", {}),
            },
            claims=(),
        ),
        build,
        "toy",
    )
    assert [dict(e.tune) for e in plan.entries] == [{}, {}, {"learning_rate": (0.001, 1.0)}]


def test_an_ablation_changes_one_setting_at_a_time(recipe, tmp_path):
    method = toy_methods.Logistic(hint=0.5)
    plan = ablate.plan_of(recipe(method=method), method, None, seeds=2)
    own = plan.entries[0].recipe.settings
    names = {e.name for e in plan.entries}
    assert names == {
        "as-given",
        "smooth=True",
        "mode=sharp",
        "hint=None",
        "learning_rate=0.001",
        "learning_rate=1",
    }
    for entry in plan.entries[1:]:
        changed = {n for n in own if entry.recipe.settings[n] != own[n]}
        assert len(changed) == 1
        assert entry.name.startswith(min(changed) + "=")
    summary = compare(plan, tmp_path / "study")
    assert summary["baseline"] == "as-given"


def test_an_ablation_of_chosen_values(recipe):
    method = toy_methods.Logistic()
    plan = ablate.plan_of(recipe(), method, {"batch_size": ["8", "32"]}, seeds=1)
    assert [e.recipe.settings["batch_size"] for e in plan.entries] == [16, 8, 32]
    with pytest.raises(CounterpointError, match="did you mean 'batch_size'"):
        ablate.plan_of(recipe(), method, {"batch_sise": [8]}, seeds=1)
