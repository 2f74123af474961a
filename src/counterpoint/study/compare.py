"""Methods against one another: same data, same budget, same seeds, the same number of tuning trials.

Every run is a folder of its own below the study's; the same command takes finished ones from disk and goes on.

    OUT/study.json               what was asked for
    OUT/tuning/<arm>/trial-000   tuning runs, measured on validation only (trial-000-1: the same with another seed)
    OUT/runs/<arm>/seed-0        final runs, measured on test
    OUT/summary.json             what came out; the report is drawn from it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sized
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint import launched
from counterpoint.errors import CounterpointError
from counterpoint.study.during.checks import opened
from counterpoint.study.evidence.needs import require_figures, require_some
from counterpoint.study.executors.cluster import Ray, run_ray
from counterpoint.study.executors.workers import Forgiving, Job, run_apart, run_here
from counterpoint.study.files import read_sealed, write_sealed
from counterpoint.study.plan import (
    TUNING_SEED,
    Entry,
    Plan,
    claim_study,
    require_equal_tuning,
    seeded,
    stored_plan,
)
from counterpoint.study.recipe import GIVEN, Recipe, plain
from counterpoint.study.settings_search.begin import recorded
from counterpoint.study.settings_search.learnt import keep
from counterpoint.study.settings_search.record import numbers_of
from counterpoint.study.store import Result, discard_study_if_nothing_saved, is_study
from counterpoint.study.summary import Tuned, summarise
from counterpoint.study.tune import Settings, best, search
from counterpoint.tasks.task import facts_of, lower_is_better, ranked_by

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

SUMMARY = "summary.json"
MOST_LOADED = 16
"""Data sets that stay loaded; where every seed has a split of its own, those of past seeds go."""


def compare(
    plan: Plan,
    out: Path,
    *,
    data: Any = None,
    model: nn.Module | None = None,
    jobs: int | Ray = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a plan, or what is left of it, and return its summary.

    Args:
        plan: what to run. out: the study's folder.
        data, model: objects for recipes that name them ``GIVEN``.
        jobs: processes at once; 1 means in this process. Or a Ray cluster, and what each run takes of it.
        progress: a started rich display.

    Raises:
        CounterpointError: the folder holds something else, or a run failed.
        Interrupted, KeyboardInterrupt: a signal came; everything is saved.
    """
    if launched.world()[1] > 1:
        raise CounterpointError(
            "a study is started by one process: leave out torchrun and give --jobs, or launch its runs one by one"
        )
    at_once = _at_once(jobs)
    if at_once < 1:
        raise CounterpointError(f"jobs={jobs}; give 1 or more")
    require_equal_tuning(plan)
    loaded: dict[str, Any] = {}

    def load(recipe: Recipe) -> Any:
        key = f"{recipe.data} {sorted(recipe.data_options.items())}"
        if key not in loaded:
            if recipe.data == GIVEN and data is None:
                raise CounterpointError(
                    "this study was started from Python with its own data; call counterpoint.compare(...) again"
                )
            if len(loaded) == MOST_LOADED:
                del loaded[next(iter(loaded))]
            loaded[key] = data if recipe.data == GIVEN else opened(recipe, recipe.build_task())
        return loaded[key]

    for entry in plan.entries:  # wrong data, a wrong setting: said before anything is written
        method = entry.recipe.build_method()
        rows = load(seeded(entry.recipe, 0, tuning_seeds=plan.tuning_seeds))
        if plan.what != "ablate":  # a part that is refused is a row of its table
            method.check(rows)
        if entry.recipe.benchmarks:
            from counterpoint.evaluation.benchmarks.measure import require

            require(entry.recipe.benchmarks)
    fresh = not is_study(out)
    claim_study(out, plan)
    try:
        return _runs(plan, out, load, model, jobs, progress)
    except CounterpointError:
        if fresh:
            discard_study_if_nothing_saved(out)
        raise


def _runs(
    plan: Plan,
    out: Path,
    load: Callable[[Recipe], Any],
    model: nn.Module | None,
    jobs: int | Ray,
    progress: Progress | None,
) -> dict[str, Any]:
    """All runs of a study whose folder is claimed, and their summary."""
    count = plan.tuning_seeds * sum(_trials(entry, plan) for entry in plan.entries)
    count += plan.seeds * len(plan.entries)
    bar = progress.add_task(plan.what, total=count, note="") if progress is not None else None

    firsts: dict[str, Mapping[str, float]] = {}
    not_run = dict(plan.refused)

    def left_out(job: Job, reason: str) -> None:
        """An arm of an ablation that refuses to run is left out, with what it says; without the method as given there is none."""
        if job.out.parent.name == plan.against:
            raise CounterpointError(reason)
        not_run.setdefault(job.out.parent.name, reason)

    def done(job: Job) -> None:
        if progress is not None and bar is not None:
            progress.update(bar, advance=1, note=f"{job.out.parent.name} {job.out.name}")
        arm = job.out.parent.name
        if job.recipe.seed == 0 and arm not in not_run:
            firsts[arm] = Result.read(job.out).metrics["test"]
            require_figures(arm, plan.needs.get(arm, ()), firsts[arm])
            if len(firsts) == len(plan.entries):
                require_some(plan.metrics, firsts.values())

    def run(work: list[Job], forgiving: Forgiving = None) -> list[Result | None]:
        if isinstance(jobs, Ray):
            return run_ray(work, jobs, done, forgiving)
        if jobs > 1:
            return run_apart(work, jobs, done, forgiving)
        shown: Progress | bool | None = progress if progress is not None else False
        return run_here(work, load, model, shown, done, forgiving)

    tuned = {entry.name: _tune(entry, plan, out, run, _at_once(jobs)) for entry in plan.entries}
    arms = {e.name: replace(e.recipe, splits=("test",), before=i == 0) for i, e in enumerate(plan.entries)}
    work = [
        Job(
            seeded(arms[entry.name], seed, tuned[entry.name].settings, tuning_seeds=plan.tuning_seeds),
            out / "runs" / entry.name / f"seed-{seed}",
            keep_model=plan.keep == "all" or (plan.keep == "first" and seed == 0),
        )
        for seed in range(plan.seeds)
        for entry in plan.entries
    ]
    results: dict[str, dict[int, Result]] = {entry.name: {} for entry in plan.entries}
    forgiving = left_out if plan.what == "ablate" else None
    for job, result in zip(work, run(work, forgiving), strict=True):
        if result is not None:
            results[job.out.parent.name][job.recipe.seed] = result
    ran = replace(plan, entries=[entry for entry in plan.entries if entry.name not in not_run])
    results = {entry.name: results[entry.name] for entry in ran.entries}
    described = {entry.name: _data(entry.recipe, plan, load) for entry in ran.entries}
    summary = summarise(ran, out, results, tuned, described, plan.entries[0].recipe.build_task())
    if not_run:
        summary["not_run"] = not_run
    if plan.what == "tune":
        summary["record"] = recorded(plan, out, tuned[plan.entries[0].name], load, run).as_dict()
    write_sealed(out / SUMMARY, summary)
    if plan.what in ("compare", "reproduce"):
        first = plan.entries[0].recipe
        loaded = load(seeded(first, 0, tuning_seeds=plan.tuning_seeds))
        keep(summary, numbers_of(facts_of(first.kind, loaded)))
    if progress is not None and bar is not None:
        progress.remove_task(bar)
    return summary


def finished(out: Path, plan: Plan) -> dict[str, Any] | None:
    """The summary of a study that has all its runs; None while some are missing."""
    if not (out / "summary.json").exists():
        return None
    summary: dict[str, Any] = read_sealed(out / "summary.json", "arms", "seeds")
    not_run = set(summary.get("not_run", {})) - set(plan.refused)
    same = {*summary["arms"], *not_run} == {entry.name for entry in plan.entries}
    return summary if same and len(summary["seeds"]) == plan.seeds else None


def resume(out: Path, *, jobs: int | Ray = 1, progress: Progress | None = None) -> dict[str, Any]:
    """Go on with the study in a folder."""
    plan = stored_plan(out)
    summary = finished(out, plan)
    if summary is not None:
        return summary
    entries = [replace(entry, recipe=entry.recipe.from_here()) for entry in plan.entries]
    return compare(replace(plan, entries=entries), out, jobs=jobs, progress=progress)


def _at_once(jobs: int | Ray) -> int:
    return (jobs.at_once or os.cpu_count() or 1) if isinstance(jobs, Ray) else jobs


def _trials(entry: Entry, plan: Plan) -> int:
    return plan.trials if entry.tune else 0


def _tune(
    entry: Entry,
    plan: Plan,
    out: Path,
    run: Callable[..., list[Result | None]],
    at_once: int,
) -> Tuned:
    if not _trials(entry, plan):
        return Tuned({}, [])
    recipe = replace(entry.recipe, splits=("validation",), before=False)
    task = entry.recipe.build_task()
    if plan.tune_by is not None and lower_is_better(task, plan.tune_by):
        raise CounterpointError(
            f"tune_by='{plan.tune_by}': tuning takes the highest figure, and of this less is better; leave it out to tune "
            f"by {task.primary}"
        )

    def figure(result: Result) -> float:
        metrics = result.metrics["validation"]
        return result.figure(plan.tune_by or ranked_by(task, metrics) or task.primary, "validation")

    reasons: list[str] = []

    def evaluate(block: list[tuple[int, Settings]]) -> list[float | None]:
        folder = out / "tuning" / entry.name
        work = [
            Job(
                seeded(recipe, TUNING_SEED + k, s, tuning_seeds=plan.tuning_seeds),
                folder / (f"trial-{number:03d}" + (f"-{k}" if k else "")),
            )
            for number, s in block
            for k in range(plan.tuning_seeds)
        ]
        results = run(work, forgiving=lambda _, reason: reasons.append(reason))
        values = [None if result is None else figure(result) for result in results]
        return [_mean(values[i : i + plan.tuning_seeds]) for i in range(0, len(values), plan.tuning_seeds)]

    try:
        trials = search(
            entry.tune,
            entry.recipe.settings,
            plan.trials,
            evaluate,
            at_once,
            adaptive=plan.what == "tune",
            points=[dict(point) for point in plan.points],
        )
    except CounterpointError as error:
        first = f"; the first: {reasons[0]}" if reasons else ""
        raise CounterpointError(f"arm '{entry.name}': {error}{first}") from None
    return Tuned(best(trials).settings, trials)


def _mean(values: list[float | None]) -> float | None:
    """Mean of a trial's seeds; None where one of them failed."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if len(present) == len(values) else None


def _data(recipe: Recipe, plan: Plan, load: Callable[[Recipe], Any]) -> dict[str, Any]:
    data = load(seeded(recipe, 0, tuning_seeds=plan.tuning_seeds))
    return plain(
        {
            "spec": recipe.data,
            "options": dict(recipe.data_options),
            "fingerprint": data.fingerprint(),
            "describe": list(data.describe()),
            "sizes": _sizes(data),
        }
    )


def _sizes(data: Any) -> dict[str, int]:
    """Rows of each part, where the data know how many they have."""
    parts = {name: getattr(data, name, None) for name in ("train", "validation", "test")}
    return {name: len(part) for name, part in parts.items() if isinstance(part, Sized)}
