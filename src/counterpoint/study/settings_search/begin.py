"""A search over one method's settings as a study: its plan, the configurations that earlier records recommend, and its own record."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.study.case import Range
from counterpoint.study.executors.workers import Job
from counterpoint.study.plan import TUNING_SEED, Entry, Plan, seeded
from counterpoint.study.recipe import Recipe, plain
from counterpoint.study.settings_search.auto_distiller import (
    AutoDistiller,
    Foretold,
    LeftOut,
    leave_one_out,
)
from counterpoint.study.settings_search.record import Record, inputs_of, numbers_of
from counterpoint.study.store import Result
from counterpoint.tasks.task import facts_of, ranked_by, task

if TYPE_CHECKING:
    from counterpoint.study.summary import Tuned

CANDIDATES = 2000
"""Configurations that a recommendation chooses from, drawn at random where there are more."""
STEPS_OF_A_RANGE = 5
"""Values that a continuous range is looked at with."""


def plan_of(
    recipe: Recipe,
    method: Method[Any, Any],
    ranges: Mapping[str, Range] | None,
    trials: int,
    seeds: int,
    points: Sequence[Mapping[str, Any]] = (),
) -> Plan:
    """The study of a search: one arm, many trials on validation, the best one's seeds on test.

    Args:
        ranges: setting -> range; None means the method's own. points: configurations to try instead.

    Raises:
        CounterpointError: nothing to search over, or fewer than two trials.
    """
    searched = dict(ranges or method.search)
    if not searched:
        raise CounterpointError(
            f"{method.key} names no range to search; give one: --vary learning_rate=0.001,0.01"
        )
    if not points and trials < 2:
        raise CounterpointError(f"trials={trials}; a search needs 2 or more, 30 is usual")
    entry = Entry(name=method.key, recipe=recipe, tune=searched, title=method.key)
    return Plan(
        what="tune",
        entries=[entry],
        seeds=seeds,
        trials=len(points) or trials,
        points=[plain(dict(point)) for point in points],
        keep="first",
        title=method.key,
    )


def candidates(ranges: Mapping[str, Range]) -> list[dict[str, Any]]:
    """Configurations of ranges, all of them or ``CANDIDATES`` at random.

    >>> candidates({"loss": ["mse", "mi"], "mixup": [False, True]})[1]
    {'loss': 'mse', 'mixup': True}
    """
    lists = {
        name: _between(*given) if isinstance(given, tuple) else list(given) for name, given in ranges.items()
    }
    count = math.prod(len(values) for values in lists.values())
    if count <= CANDIDATES:
        return [dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())]
    draw = random.Random(0)
    return [{name: draw.choice(values) for name, values in lists.items()} for _ in range(CANDIDATES)]


def _between(low: float, high: float) -> list[Any]:
    """Values from low to high, evenly on a log scale where both are above 0; whole ones between whole ends."""
    whole = isinstance(low, int) and isinstance(high, int)
    shares = [i / (STEPS_OF_A_RANGE - 1) for i in range(STEPS_OF_A_RANGE)]
    values = [low * (high / low) ** s if low > 0 else low + (high - low) * s for s in shares]
    return sorted({round(value) for value in values}) if whole else values


def recommended(
    recipe: Recipe, ranges: Mapping[str, Range], data: Any, records: Sequence[Record], top: int
) -> tuple[list[Foretold], list[LeftOut]]:
    """What AutoDistiller recommends on data, and how such recommendations fared on each data set of the records.

    Args:
        data: loaded. top: how many configurations.

    Raises:
        CounterpointError: no records, or top below 1.
    """
    if top < 1:
        raise CounterpointError(f"top={top}; give 1 or more configurations to try, 5 is usual")
    own = _described(recipe, data)
    best = AutoDistiller(records).recommend(own, candidates(ranges), top)
    return best, leave_one_out(records, top)


def recorded(
    plan: Plan,
    out: Path,
    tuned: Tuned,
    load: Callable[[Recipe], Any],
    run: Callable[[list[Job]], list[Result | None]],
) -> Record:
    """The record of a finished search; measures the teacher and what the student reaches without one, where there are such."""
    entry = plan.entries[0]
    recipe = seeded(entry.recipe, TUNING_SEED, tuning_seeds=plan.tuning_seeds)
    data, chosen = load(recipe), task(recipe.kind)
    first = next(iter(out.glob(f"tuning/{entry.name}/trial-*/result.json")), None)
    there = Result.read(first.parent).metrics["validation"] if first is not None else {}
    metric = plan.tune_by or ranked_by(recipe.build_task(), there) or chosen.primary
    method, teacher, reference = entry.recipe.method_class(), "", math.nan
    if method.taught_by and str(recipe.settings[method.taught_by]):
        teacher = str(recipe.settings[method.taught_by])
        model = chosen.load_model(teacher, data, 0)
        if getattr(
            model, "classes", None
        ):  # an encoder alone is taught anew in each run, and has no figure of its own
            reference = chosen.evaluate(model, data, "validation", TUNING_SEED).get(metric, math.nan)
    tried = [(dict(t.settings), t.value) for t in tuned.trials if t.value is not None]
    whole = [
        ({name: {**entry.recipe.settings, **s}[name] for name in entry.tune}, float(v)) for s, v in tried
    ]
    if not math.isfinite(reference):
        teacher, reference = "", max(value for _, value in whole)
    bare = None
    if method.untaught:
        settings = {**recipe.settings, **plain(method.untaught)}
        alone = Recipe.from_dict(
            {**recipe.as_dict(), "settings": settings, "splits": ["validation"], "before": False}
        )
        (result,) = run([Job(alone, out / "tuning" / entry.name / "untaught")])
        bare = None if result is None else result.figure(metric, "validation")
    own = _described(recipe, data)
    return Record(
        **{**own.__dict__, "metric": metric, "tried": whole, "reference": float(reference), "teacher": teacher, "bare": bare}
    )  # fmt: skip


def _described(recipe: Recipe, data: Any) -> Record:
    """A record's facts of the data and models, with nothing tried yet."""
    method = recipe.method_class()
    teacher = str(recipe.settings[method.taught_by]) if method.taught_by else ""
    return Record(
        method=recipe.key,
        data=data.fingerprint(),
        name=recipe.data,
        model=recipe.model,
        metric="",
        reference=1.0,
        tried=(),
        teacher=teacher,
        facts=numbers_of(facts_of(recipe.kind, data)),
        inputs=inputs_of(data),
    )
