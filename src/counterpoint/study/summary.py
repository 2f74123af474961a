"""What came out of a study, as plain data: figures of every seed, intervals, paired differences, cost, tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError
from counterpoint.study.case import Range
from counterpoint.study.evidence.needs import require_some
from counterpoint.study.evidence.splits import overlap_of
from counterpoint.study.plan import TUNING_SEED, Entry, Plan
from counterpoint.study.recipe import plain
from counterpoint.study.settings_search.importance import importance
from counterpoint.study.statistics import estimate
from counterpoint.study.store import Result
from counterpoint.study.tune import Settings, Trial, best
from counterpoint.study.verdicts import arm_figures, differences
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
    arms = {
        e.name: _arm(e, out, results[e.name], tuned[e.name], metrics, data[e.name], plan.what == "tune")
        for e in plan.entries
    }
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
        "differences": {m: differences(arms, m, baseline) for m in metrics},
        "before": _before(results[plan.entries[0].name], metrics),
        "environment": plain(every[0].environment),
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _metrics(plan: Plan, results: Mapping[str, Mapping[int, Result]], task: Task) -> tuple[str, list[str]]:
    """The metric to rank by, which every run has, and those for the tables: the ones asked for, or all that every run has.

    What was asked for, or what a claim is about, may be missing in some arms, whose cells stay empty.
    """
    every = [result.metrics["test"] for runs in results.values() for result in runs.values()]
    shared = set.intersection(*(set(figures) for figures in every))
    require_some(plan.metrics, every)
    first = every[0]
    primary = ranked_by(task, shared)
    if primary is None:
        raise CounterpointError(
            f"no figure to rank by was measured of every arm; {task.kind} are ranked by {task.primary}, and there is "
            f"{', '.join(sorted(shared)) or 'nothing'}"
        )
    wanted = plan.metrics or [name for name in first if name in shared]
    needed = [name for metrics in plan.needs.values() for name in metrics]
    return primary, list(dict.fromkeys((primary, *wanted, *needed)))


def _arm(
    entry: Entry,
    out: Path,
    runs: Mapping[int, Result],
    tuned: Tuned,
    metrics: Sequence[str],
    data: Mapping[str, Any],
    search: bool,
) -> dict[str, Any]:
    method = entry.recipe.method_class()
    settings = {**entry.recipe.settings, **plain(tuned.settings)}
    arm = {
        "key": entry.recipe.key,
        "title": entry.title,
        "baseline": entry.baseline,
        "settings": settings,
        "changed": plain(method.settings(**settings).changed()),
        "model": entry.recipe.model,
        "budget": dict(entry.recipe.budget),
        "data": data["spec"],
        "data_fingerprint": data["fingerprint"],
        "measured": dict(next(iter(runs.values())).measured),
        "overlap": overlap_of(entry.recipe.data_options),
        "tuning": _tuning(entry, tuned, data["sizes"].get("validation"), search),
        "runs": [
            {
                "seed": seed,
                "folder": str(result.folder.relative_to(out)),
                "metrics": {m: result.metrics["test"][m] for m in metrics if m in result.metrics["test"]},
                "cost": plain(result.cost),
                "spent": plain(result.spent),
            }
            for seed, result in sorted(runs.items())
        ],
        "cost": {
            name: asdict(estimate([float(r.cost[name]) for r in runs.values()]))
            for name in COSTS
            if all(name in result.cost for result in runs.values())
        },
    }
    return arm | {"metrics": arm_figures(arm, metrics)}


def _tuning(entry: Entry, tuned: Tuned, examples: int | None, search: bool) -> dict[str, Any] | None:
    if not tuned.trials:
        return None
    chosen = best(tuned.trials)
    return {
        "ranges": plain({name: _range(given) for name, given in entry.tune.items()}),
        "examples": examples,
        "trials": [plain(asdict(trial)) for trial in tuned.trials],
        "chosen": {"number": chosen.number, "settings": plain(chosen.settings), "value": chosen.value},
        "failed": sum(trial.value is None for trial in tuned.trials),
    } | ({"importance": importance(entry.tune, entry.recipe.settings, tuned.trials)} if search else {})


def _range(given: Range) -> Any:
    return {"low": given[0], "high": given[1]} if isinstance(given, tuple) else list(given)


def _before(runs: Mapping[int, Result], metrics: Sequence[str]) -> dict[str, Any]:
    """The untrained model's figures over seeds, where they were measured."""
    measured = [run.before["test"] for run in runs.values() if "test" in run.before]
    by_metric = {m: [figures[m] for figures in measured if m in figures] for m in metrics}
    return {m: asdict(estimate(values)) for m, values in by_metric.items() if values}
