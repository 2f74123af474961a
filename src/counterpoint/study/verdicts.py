"""What follows from the seeds' figures: arms' intervals, paired differences, claims. Plain data in and out.

Three things are needed for a verdict: arms that were trained on equal terms, an interval that lies on one side, and a p-value
that stays below 0.05 when it is corrected (Holm) for all differences of a metric, or all claims of a method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from counterpoint.study.evidence.ranges import bounds, contrast_bounds
from counterpoint.study.statistics import LEVEL, Estimate, contrast, estimate, holm

Arms = Mapping[str, Mapping[str, Any]]
"""Arm -> its part of a summary or of evidence: ``runs``, ``budget``, ``data``, ``data_fingerprint``, maybe ``overlap``."""

SHOWN, NOT_SHOWN = "shown", "not shown"
UNEQUAL = "unequal terms"
"""Verdict of a difference between arms that had other data or another budget."""
COUNTED = ("examples", "tokens", "steps")
"""What training spent, in the order in which it tells whether two arms without a budget had as much."""


def figures(arms: Arms, metric: str) -> dict[str, dict[int, float]]:
    """Arm -> seed -> figure, of the arms that have the metric; a figure that could not be computed is NaN."""
    return {
        name: {run["seed"]: _number(run["metrics"].get(metric)) for run in arm["runs"]}
        for name, arm in arms.items()
        if has(arm, metric)
    }


def has(arm: Mapping[str, Any], metric: str) -> bool:
    """Whether an arm was measured by a metric: some methods' models have figures that others have not."""
    return any(metric in run["metrics"] for run in arm["runs"])


def overlap(arms: Iterable[Mapping[str, Any]]) -> float:
    """The largest n_test / n_train of arms in which every seed has a split of its own; 0 where none has."""
    return max((float(arm.get("overlap") or 0.0) for arm in arms), default=0.0)


def arm_figures(arm: Mapping[str, Any], metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Mean and interval of each of one arm's figures, which stay within the metric's bounds; none of what it was not measured by."""
    result = {}
    for metric in metrics:
        if has(arm, metric):
            values = [_number(run["metrics"].get(metric)) for run in arm["runs"]]
            result[metric] = asdict(estimate(values, bounds=bounds(metric), overlap=overlap([arm])))
    return result


def unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Why two arms cannot be measured against each other; None where they had the same data and as large a budget.

    >>> unequal({"data": "a", "budget": {"steps": 60}}, {"data": "a", "budget": {"steps": 1500}})
    'budgets differ: 60 steps against 1,500 steps'
    """
    if one.get("data_fingerprint") != other.get("data_fingerprint") or one["data"] != other["data"]:
        if one["data"] == other["data"]:
            return f"other data: {one['data']} with other options"
        return f"other data: {one['data']} against {other['data']}"
    if dict(one["budget"]) != dict(other["budget"]):
        return f"budgets differ: {_words(one['budget'])} against {_words(other['budget'])}"
    if one["budget"]:
        return None
    a, b = _spent(one), _spent(other)
    for name in COUNTED:
        if name in a or name in b:
            mine, theirs = a.get(name, 0.0), b.get(name, 0.0)
            if abs(mine - theirs) <= 0.01 * max(mine, theirs):
                return None
            return f"no common budget: {mine:,.0f} {name} against {theirs:,.0f}"
    return None


def _otherwise(one: Mapping[str, Any], other: Mapping[str, Any], metric: str) -> str | None:
    """Say that two arms' figures of one name are different measurements."""
    a, b = (arm.get("measured", {}).get(metric, "own head") for arm in (one, other))
    return None if a == b else f"{metric} is measured differently: {a} against {b}"


def differences(arms: Arms, metric: str, baseline: str) -> dict[str, Any]:
    """Paired differences from the baseline, with verdicts: above, below, unclear or unequal terms.

    Args:
        arms, metric, baseline: of the arms that have the metric every other one is set against the baseline; none where the
            baseline has not.
    """
    every, result = figures(arms, metric), {}
    for arm in every if baseline in every else ():
        if arm == baseline:
            continue
        weights = {arm: 1.0, baseline: -1.0}
        values = contrast(every, weights)
        reason = unequal(arms[arm], arms[baseline]) or _otherwise(arms[arm], arms[baseline], metric)
        measured = _measured(values, metric, weights, [arms[arm], arms[baseline]])
        result[arm] = {"values": values, **asdict(measured), "verdict": measured.verdict, "unequal": reason}
    adjusted = holm({a: d["p"] for a, d in result.items() if d["p"] is not None and d["unequal"] is None})
    for arm, difference in result.items():
        difference["p_holm"] = adjusted.get(arm)
        if difference["unequal"] is not None:
            difference["verdict"] = UNEQUAL
        elif not _sure(difference["p_holm"]):
            difference["verdict"] = "unclear"
    return result


def claims(expected: Sequence[Mapping[str, Any]], arms: Arms) -> list[dict[str, Any]]:
    """Judge a method's claims together.

    Args:
        expected: ``text``, ``contrast`` (arm -> coefficient), ``metric`` and ``above`` of each.
        arms: those that a claim names have its metric.

    Returns:
        Each with its values seed by seed, its estimate, ``p_holm``, ``verdict`` (shown or not shown), and ``opposite``: whether
        the seeds are as sure of the contrary.
    """
    result = []
    for claim in expected:
        weights, metric = claim["contrast"], claim["metric"]
        values = contrast(figures(arms, metric), weights)
        measured = _measured(values, metric, weights, [arms[name] for name in weights], claim["above"])
        shift = {n: getattr(measured, n) for n in ("mean", "low", "high", "boot_low", "boot_high")}
        result.append(
            {
                "text": claim["text"],
                "metric": metric,
                "contrast": dict(weights),
                "above": claim["above"],
                "unequal": claim.get("unequal", ""),
                "values": values,
                **asdict(measured),
                **{name: None if value is None else value + claim["above"] for name, value in shift.items()},
                "side": measured.verdict,
            }
        )
    adjusted = holm({str(i): c["p"] for i, c in enumerate(result) if c["p"] is not None})
    for i, claim in enumerate(result):
        claim["p_holm"] = adjusted.get(str(i))
        side = claim.pop("side")
        if not _sure(claim["p_holm"]):
            side = "unclear"
        claim["verdict"] = SHOWN if side == "above" else NOT_SHOWN
        claim["opposite"] = side == "below"
    return result


def _measured(
    values: Sequence[float],
    metric: str,
    weights: Mapping[str, float],
    arms: Sequence[Mapping[str, Any]],
    above: float = 0.0,
) -> Estimate:
    low, high = contrast_bounds(metric, weights)
    return estimate(
        [value - above for value in values], bounds=(low - above, high - above), overlap=overlap(arms)
    )


def _sure(corrected: float | None) -> bool:
    return corrected is not None and corrected <= LEVEL


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _words(budget: Mapping[str, float]) -> str:
    return ", ".join(f"{limit:,.10g} {name}" for name, limit in budget.items()) or "the method's own epochs"


def _spent(arm: Mapping[str, Any]) -> dict[str, float]:
    """Mean over runs of what training spent."""
    runs = [run.get("spent") or {} for run in arm["runs"]]
    names = {name for spent in runs for name in spent}
    return {name: sum(float(spent.get(name, 0.0)) for spent in runs) / len(runs) for name in names}
