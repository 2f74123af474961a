"""What came out of a study, as plain data: figures of every seed, intervals, paired differences, cost, tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.plan import TUNING_SEED, Entry, Plan
from counterpoint.study.recipe import imported, plain
from counterpoint.study.statistics import contrast, estimate, holm
from counterpoint.study.store import Result
from counterpoint.study.tune import Settings, Trial, best
from counterpoint.tasks.task import Task, lower_is_better, ranked_by

COSTS = ("wall_seconds", "cpu_seconds", "fit_seconds", "peak_rss_bytes", "peak_above_start_bytes")


@dataclass(frozen=True)
class Tuned:
    """The settings that tuning chose (differences from the arm's own) and all trials."""

    settings: Settings
    trials: Sequence[Trial]


def summarise(
    plan: Plan,
    out: Path,
    results: Mapping[str, Mapping[int, Result]],
    tuned: Mapping[str, Tuned],
    data: Mapping[str, Mapping[str, Any]],
    task: Task,
) -> dict[str, Any]:
    """Put the study's results together.

    Args:
        results: arm -> seed -> finished run. tuned: arm -> tuning. data: arm -> what its data is.
    """
    primary, metrics = _metrics(plan, results, task)
    figures = {
        m: {arm: {s: r.figure(m, "test") for s, r in runs.items()} for arm, runs in results.items()}
        for m in metrics
    }
    arms = {e.name: _arm(e, out, results[e.name], tuned[e.name], figures, data[e.name]) for e in plan.entries}
    means = {name: arm["metrics"][primary]["mean"] for name, arm in arms.items()}
    ranked = sorted(
        means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name], reverse=True
    )
    baseline = plan.against or ranked[0]
    first = plan.entries[0].recipe
    every = [result for runs in results.values() for result in runs.values()]
    return {
        "what": plan.what,
        "title": plan.title,
        "kind": first.kind,
        "primary": primary,
        "metrics": metrics,
        "lower_is_better": [m for m in metrics if lower_is_better(task, m)],
        "model": first.model,
        "budget": dict(first.budget),
        "precision": first.precision,
        "seeds": list(range(plan.seeds)),
        "trials": plan.trials,
        "tune_by": plan.tune_by or primary,
        "tuning_seed": TUNING_SEED,
        "tuning_seeds": plan.tuning_seeds,
        "data": data[plan.entries[0].name],
        "arms": arms,
        "ranked": ranked,
        "baseline": baseline,
        "baseline_is_best": plan.against is None,
        "differences": {m: _differences(figures[m], baseline) for m in metrics},
        "before": _before(results[plan.entries[0].name], metrics),
        "environment": plain(every[0].environment),
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _metrics(plan: Plan, results: Mapping[str, Mapping[int, Result]], task: Task) -> tuple[str, list[str]]:
    """The metric to rank by, and all that every run has: the ones asked for, or that one and the rest in the task's order."""
    every = [set(result.metrics["test"]) for runs in results.values() for result in runs.values()]
    shared = set.intersection(*every)
    missing = [name for name in plan.metrics if name not in shared]
    if missing:
        raise CounterpointError(
            f"metric '{missing[0]}' is not among those of every arm: {', '.join(sorted(shared))}"
        )
    first = next(iter(next(iter(results.values())).values())).metrics["test"]
    primary = ranked_by(task, shared)
    if primary is None:
        raise CounterpointError(
            f"no figure to rank by was measured of every arm; {task.kind} are ranked by {task.primary}, and there is "
            f"{', '.join(sorted(shared)) or 'nothing'}"
        )
    return primary, [primary, *(n for n in plan.metrics or first if n in shared and n != primary)]


def _arm(
    entry: Entry,
    out: Path,
    runs: Mapping[int, Result],
    tuned: Tuned,
    figures: Mapping[str, Mapping[str, Mapping[int, float]]],
    data: Mapping[str, Any],
) -> dict[str, Any]:
    method = imported(entry.recipe.method)
    settings = {**entry.recipe.settings, **plain(tuned.settings)}
    return {
        "key": entry.recipe.key,
        "title": entry.title,
        "baseline": entry.baseline,
        "settings": settings,
        "changed": plain(method.settings(**settings).changed()),
        "model": entry.recipe.model,
        "budget": dict(entry.recipe.budget),
        "data": data["spec"],
        "data_fingerprint": data["fingerprint"],
        "tuning": _tuning(entry, tuned),
        "runs": [
            {
                "seed": seed,
                "folder": str(result.folder.relative_to(out)),
                "metrics": {m: figures[m][entry.name][seed] for m in figures},
                "cost": plain(result.cost),
                "spent": plain(result.spent),
            }
            for seed, result in sorted(runs.items())
        ],
        "metrics": {m: asdict(estimate(list(figures[m][entry.name].values()))) for m in figures},
        "cost": {
            name: asdict(estimate([float(r.cost[name]) for r in runs.values()]))
            for name in COSTS
            if all(name in result.cost for result in runs.values())
        },
    }


def _tuning(entry: Entry, tuned: Tuned) -> dict[str, Any] | None:
    if not tuned.trials:
        return None
    chosen = best(tuned.trials)
    return {
        "ranges": plain({name: list(given) for name, given in entry.tune.items()}),
        "trials": [plain(asdict(trial)) for trial in tuned.trials],
        "chosen": {"number": chosen.number, "settings": plain(chosen.settings), "value": chosen.value},
        "failed": sum(trial.value is None for trial in tuned.trials),
    }


def _differences(figures: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for arm in figures:
        if arm == baseline:
            continue
        values = contrast(figures, {arm: 1.0, baseline: -1.0})
        found[arm] = {"values": values, **asdict(estimate(values)), "verdict": estimate(values).verdict}
    adjusted = holm({arm: d["p"] for arm, d in found.items() if d["p"] is not None})
    for arm, difference in found.items():
        difference["p_holm"] = adjusted.get(arm)
    return found


def _before(runs: Mapping[int, Result], metrics: Sequence[str]) -> dict[str, Any]:
    """The untrained model's figures over seeds, where they were measured."""
    measured = [run.before["test"] for run in runs.values() if "test" in run.before]
    found = {m: [figures[m] for figures in measured if m in figures] for m in metrics}
    return {m: asdict(estimate(values)) for m, values in found.items() if values}
