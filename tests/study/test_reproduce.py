"""Evidence: claims checked seed by seed, a hash that notices a changed figure; ablations change one setting at a time."""

import hashlib
import json

import pytest
import toy_methods

from counterpoint.errors import CounterpointError
from counterpoint.study import ablate
from counterpoint.study import compare as comparing
from counterpoint.study.case import OF_SEED, OF_TUNING, Arm, Case, Claim
from counterpoint.study.compare import compare
from counterpoint.study.pages import table
from counterpoint.study.plan import TUNING_SEED
from counterpoint.study.rejudge import raw, rejudge
from counterpoint.study.report.page import write_report
from counterpoint.study.reproduce import check_evidence, plan_of, reproduce, write_evidence
from counterpoint.study.verdicts import claims


def build(key, settings):
    methods = {
        "toy-logistic": toy_methods.Logistic,
        "toy-nothing": toy_methods.Nothing,
        "toy-telling": toy_methods.Telling,
    }
    return methods[key].settings(**settings)


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
        comparing, "MOST_LOADED", 2
    )  # past seeds' data goes, and is loaded again where it is asked for
    mine = case(
        data_options={"shift": OF_SEED, "untested": OF_TUNING},
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
    assert found["data"]["options"] == {"shift": OF_SEED, "untested": OF_TUNING}
    stored = json.loads((tmp_path / "work" / "runs" / "learns" / "seed-2" / "run.json").read_text())["recipe"]
    assert stored["data_options"] == {"shift": 3, "untested": f"{TUNING_SEED + 1},{TUNING_SEED + 2}"}
    stored = json.loads((tmp_path / "work" / "tuning" / "learns" / "trial-001-1" / "run.json").read_text())[
        "recipe"
    ]
    assert stored["data_options"] == {"shift": TUNING_SEED + 2}
    assert found["arms"]["learns"]["overlap"] == 0.25
    bare = case(data_options={"shift": OF_SEED}, arms=mine.arms, claims=(), trials=2)
    with pytest.raises(CounterpointError, match="OF_TUNING"):
        reproduce(bare, plan_of(bare, build, "toy"), tmp_path / "bare")
    assert found["data"]["fingerprint"] == Points(0.3, 1).fingerprint()
    assert "3 seeds, each with a split of its own; mean" in table(found)
    assert (
        "“learns” 2 configurations of `learning_rate` {0.1, 0.2} on 80 validation examples; “nothing” not tuned"
        in table(found)
    )
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
    wrong = case(claims=(Claim.better("x", "learns", "nothing", metric="speed"),))
    with pytest.raises(CounterpointError, match=r"arm 'learns' by 'speed', .* measured: accuracy, error"):
        reproduce(wrong, plan_of(wrong, build, "toy"), tmp_path / "work")
    assert [path.parent.name for path in (tmp_path / "work").rglob("result.json")] == ["seed-0"], (
        "it is refused after the first run, not after the last"
    )
    wrong = case(metrics=("accuracy", "sped"), claims=())
    with pytest.raises(
        CounterpointError, match="metric 'sped' was measured of no arm; measured: accuracy, error"
    ):
        reproduce(wrong, plan_of(wrong, build, "toy"), tmp_path / "other")
    assert {path.parent.name for path in (tmp_path / "other").rglob("result.json")} == {"seed-0"}


@pytest.mark.parametrize("metrics", [(), ("accuracy", "seen")])
def test_a_claim_needs_its_metric_only_of_the_arms_it_compares(tmp_path, metrics):
    mine = case(
        arms={
            "five": ("toy-telling", {}),
            "nine": ("toy-telling", {"examples": 9}),
            "nothing": ("toy-nothing", {}),
        },
        measure=__import__("toy_task").examples_seen,
        claims=(
            Claim.better("nine are more than five", "nine", "five", metric="seen", above=3.5),
            Claim(text="more than three", contrast={"five": 1.0}, metric="seen", above=3.0),
        ),
        budget={},
        metrics=metrics,
        seeds=3,
    )
    plan = plan_of(mine, build, "toy")
    found = reproduce(mine, plan, tmp_path / "work")
    assert "seen" in found["metrics"]
    assert found["claims"][0]["mean"] == 4.0
    assert found["claims"][1]["verdict"] == "shown"
    assert "seen" not in found["arms"]["nothing"]["metrics"]
    assert not any("seen" in run["metrics"] for run in found["arms"]["nothing"]["runs"])
    assert found["differences"]["seen"] == {}, "the baseline has no such figure"
    assert set(found["differences"]["accuracy"]) == {"five", "nine"}
    column = 1 + found["metrics"].index("seen")
    cells = {
        line.split(" | ")[0][2:]: line.split(" | ") for line in table(found).splitlines() if " | " in line
    }
    assert cells["nothing"][column] == ""
    assert cells["nine"][column].startswith("9.")
    write_evidence(tmp_path / "toy.json", found)
    assert rejudge(tmp_path / "toy.json", plan) == []
    page = write_report([tmp_path / "work"], tmp_path / "page.html").read_text()
    assert "<td>–</td>" in page
    wrong = case(
        arms=mine.arms,
        measure=mine.measure,
        claims=(Claim.better("x", "nine", "nothing", metric="seen"),),
        budget={},
        seeds=3,
    )
    with pytest.raises(CounterpointError, match="arm 'nothing' by 'seen'"):
        reproduce(wrong, plan_of(wrong, build, "toy"), tmp_path / "wrong")


def test_a_methods_own_ranges_leave_fixed_settings_alone_and_an_arms_ranges_do_not():
    plan = plan_of(
        case(
            arms={
                "a": ("toy-logistic", {"learning_rate": 0.2}),
                "nothing": ("toy-nothing", {}),
                "b": ("toy-logistic", {}),
                "c": Arm(method="toy-logistic", settings={"hint": 0.2}, tune={"hint": [0.1, 0.2]}),
            },
            claims=(),
        ),
        build,
        "toy",
    )
    tuned = [dict(e.tune) for e in plan.entries]
    assert tuned == [{}, {}, {"learning_rate": (0.001, 1.0)}, {"hint": [0.1, 0.2]}]


def test_a_claim_sets_arms_that_are_tuned_alike_against_each_other():
    arms = {
        "tuned": Arm(method="toy-logistic", tune={"learning_rate": [0.1, 0.2]}),
        "nothing": ("toy-nothing", {}),
    }
    claim = Claim.better("x", "tuned", "nothing")
    with pytest.raises(CounterpointError, match="'tuned', which is tuned, against 'nothing', which is not"):
        plan_of(case(arms=arms, claims=(claim,), trials=2), build, "toy")
    said = Claim.better("x", "tuned", "nothing", unequal="nothing has nothing to tune")
    assert plan_of(case(arms=arms, claims=(said,), trials=2), build, "toy").trials == 2
    shares = {
        "tuned": arms["tuned"],
        "nothing": Arm(
            method="toy-logistic", tune={"learning_rate": [0.1, 0.2]}, data_options={"validation": 0.4}
        ),
    }
    with pytest.raises(CounterpointError, match="different shares for validation"):
        plan_of(case(arms=shares, claims=(claim,), trials=2), build, "toy")


def test_every_case_tunes_its_arms_alike():
    from counterpoint import api
    from counterpoint.study.plan import require_equal_tuning

    for key in api.cases():
        require_equal_tuning(api.reproduction(key)[1])


def test_evidence_holds_the_commit_and_the_hash_of_its_case(tmp_path):
    import subprocess

    mine, source = case(seeds=2), tmp_path / "repository" / "toy.py"
    source.parent.mkdir()
    source.write_text("CASE = 1\n")

    def git(*words):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words],
            cwd=source.parent, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    plan = plan_of(mine, build, "toy")
    bare = reproduce(mine, plan, tmp_path / "bare", source=source)["source"]["begun"]
    assert bare["commit"] is None
    assert bare["case_sha256"] == hashlib.sha256(b"CASE = 1\n").hexdigest()
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "case")
    found = reproduce(mine, plan, tmp_path / "work", source=source)
    assert found["source"]["begun"] == {**bare, "commit": git("rev-parse", "HEAD"), "uncommitted": False}
    source.write_text("CASE = 2\n")  # a claim that is changed when its figures are there
    again = reproduce(mine, plan, tmp_path / "work", source=source)
    assert again["source"]["begun"] == found["source"]["begun"]
    assert again["source"]["judged"]["uncommitted"] is True
    assert (
        f"case {bare['case_sha256'][:12]}, commit {git('rev-parse', 'HEAD')[:12]}; the case was changed"
        in table(again)
    )


def test_a_verdict_needs_the_interval_and_holm_over_all_claims():
    def arm(values):
        runs = [{"seed": i, "metrics": {"score": v}, "spent": {}} for i, v in enumerate(values)]
        return {"runs": runs, "data": "d", "budget": {"steps": 1}}

    base = [0.0, 0.0, 0.0, 0.0, 0.0]
    arms = {
        "base": arm(base),
        "edge": arm([0.05, 0.2, 0.02, 0.3, 0.2]),
        "firm": arm([1.0, 1.1, 0.9, 1.0, 1.2]),
    }
    arms |= {"bad": arm([-1.0, -1.1, -0.9, -1.0, -1.2]), "same": arm([0.5] * 5)}

    def claim(name):
        return {"text": name, "contrast": {name: 1.0, "base": -1.0}, "metric": "score", "above": 0.0}

    alone = claims([claim("edge")], arms)[0]
    assert alone["low"] > 0
    assert (alone["verdict"], alone["p_holm"]) == ("shown", alone["p"])
    family = [claim("edge"), claim("edge"), claim("firm"), claim("bad"), claim("same")]
    edge, _, firm, bad, same = claims(family, arms)
    assert edge["low"] > 0
    assert edge["p_holm"] == pytest.approx(2 * edge["p"])
    assert (edge["verdict"], edge["opposite"]) == ("not shown", False)
    assert (firm["verdict"], firm["opposite"]) == ("shown", False)
    assert (bad["verdict"], bad["opposite"]) == ("not shown", True)
    assert (same["low"], same["p_holm"], same["verdict"]) == (None, None, "not shown")


def test_a_mean_above_its_bound_is_not_enough():
    values = [0.9, -0.5, 0.8, -0.4]
    runs = [{"seed": i, "metrics": {"score": v}, "spent": {}} for i, v in enumerate(values)]
    arms = {"a": {"runs": runs, "data": "d", "budget": {}}}
    found = claims([{"text": "a", "contrast": {"a": 1.0}, "metric": "score", "above": 0.0}], arms)[0]
    assert found["mean"] > 0
    assert found["verdict"] == "not shown"


def test_stored_figures_are_judged_again_and_never_touched(tmp_path):
    mine = case(measure=__import__("toy_task").weight_norm, earlier=("a first version showed less",))
    plan = plan_of(mine, build, "toy")
    content = reproduce(mine, plan, tmp_path / "work")
    old = json.loads(json.dumps(content))
    for claim in old["claims"]:  # as judged by another rule
        del claim["p_holm"]
        claim["verdict"], claim["opposite"] = "shown", False
    path = tmp_path / "toy.json"
    write_evidence(path, old)
    before = check_evidence(path)
    changed = rejudge(path, plan, mine.earlier)
    after = check_evidence(path)
    assert raw(before) == raw(after)
    assert [c["verdict"] for c in after["claims"]] == [c["verdict"] for c in content["claims"]]
    assert len(changed) == sum(c["verdict"] != "shown" for c in content["claims"]) > 0
    assert after["rejudged"][0]["from_sha256"] == before["sha256"]
    assert after["earlier"] == ["a first version showed less"]
    assert rejudge(path, plan, mine.earlier) == []
    assert check_evidence(path) == after
    tampered = json.loads(json.dumps(after))
    tampered["arms"]["learns"]["runs"][0]["metrics"]["accuracy"] += 0.01
    assert raw(tampered) != raw(after)
    path.write_text(json.dumps(tampered))
    with pytest.raises(CounterpointError, match="not what a reproduction wrote"):
        rejudge(path, plan)


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
