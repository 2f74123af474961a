"""The evidence that is kept, recomputed from its raw figures by other code: claims, verdicts, trials, and the commit they came from."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import t as student

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "evidence").glob("*.json"))
EVIDENCE = [pytest.param(json.loads(path.read_text(encoding="utf-8")), id=path.stem) for path in FILES]


def interval(values: Sequence[float], overlap: float) -> tuple[float, float, float] | None:
    """Student's interval and p-value of a mean, with Nadeau and Bengio's factor; None where there is no spread to judge by."""
    if len(values) < 3 or any(math.isnan(each) for each in values):
        return None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return None
    error = deviation * math.sqrt(1 / len(values) + overlap)
    half = student.ppf(0.975, len(values) - 1) * error
    return mean - half, mean + half, 2 * student.sf(abs(mean) / error, len(values) - 1)


def figure(arm: Mapping[str, Any], seed: int, metric: str) -> float:
    (value,) = (run["metrics"][metric] for run in arm["runs"] if run["seed"] == seed)
    return math.nan if value is None else value


@pytest.mark.parametrize("content", EVIDENCE)
def test_claims_follow_from_the_raw_figures(content: dict[str, Any]) -> None:
    arms, intervals = content["arms"], []
    for claim in content["claims"]:
        seeds = [run["seed"] for run in arms[next(iter(claim["contrast"]))]["runs"]]
        values = [
            sum(
                weight * figure(arms[arm], seed, claim["metric"]) for arm, weight in claim["contrast"].items()
            )
            for seed in seeds
        ]
        assert claim["values"] == pytest.approx(values, abs=1e-12, nan_ok=True)
        overlap = max(arms[arm].get("overlap") or 0.0 for arm in claim["contrast"])
        intervals.append(interval([value - claim["above"] for value in values], overlap))
    p_values = sorted(found[2] for found in intervals if found is not None)
    corrected, highest = {}, 0.0
    for rank, p in enumerate(p_values):
        highest = corrected[p] = max(highest, min(1.0, p * (len(p_values) - rank)))
    for claim, found in zip(content["claims"], intervals, strict=True):
        if found is None:
            assert (claim["verdict"], claim["opposite"]) == ("not shown", False)
            continue
        low, high, p = found
        assert claim["p_holm"] == pytest.approx(corrected[p], rel=1e-9)
        assert claim["low"] >= low + claim["above"] - 1e-9, "a bound of the metric may cut it, nothing else"
        assert claim["high"] <= high + claim["above"] + 1e-9
        sure = corrected[p] <= 0.05
        assert claim["verdict"] == ("shown" if sure and low > 0 else "not shown")
        assert claim["opposite"] == (sure and high < 0)


@pytest.mark.parametrize("content", EVIDENCE)
def test_every_tuned_arm_had_the_trials_it_says_and_runs_with_the_best(content: dict[str, Any]) -> None:
    assert len({len(arm["runs"]) for arm in content["arms"].values()}) == 1
    for name, arm in content["arms"].items():
        if arm["tuning"] is None:
            continue
        trials = arm["tuning"]["trials"]
        chosen = arm["tuning"]["chosen"]
        assert chosen["value"] == max(trial["value"] for trial in trials if trial["value"] is not None), name
        assert {key: arm["settings"][key] for key in chosen["settings"]} == chosen["settings"], name
        if (
            "source" in content
        ):  # what was measured before evidence named its commit had a trial more or fewer
            assert len(trials) == content["trials"], name
            assert len({json.dumps(trial["settings"], sort_keys=True) for trial in trials}) == len(trials), (
                name
            )


@pytest.mark.parametrize("content", EVIDENCE)
def test_the_case_is_the_one_of_its_commit(content: dict[str, Any]) -> None:
    if "source" not in content:
        assert content["finished"] < "2026-11-24", "evidence names its commit"
        return
    for source in content["source"].values():
        assert source["uncommitted"] is False
        shown = subprocess.run(
            ["git", "show", f"{source['commit']}:src/counterpoint/cases/{source['case']}"],
            cwd=ROOT, capture_output=True, check=False,
        )  # fmt: skip
        if shown.returncode == 0:  # a shallow clone has no past
            assert hashlib.sha256(shown.stdout).hexdigest() == source["case_sha256"]
