"""The figures of a run's model: before training, after it, and which of them may be compared."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.models import passes
from counterpoint.study.files import read_sealed, shaped, write_sealed
from counterpoint.study.recipe import Recipe, loaded
from counterpoint.study.store import numbers
from counterpoint.tasks.task import Task, measured_by, of_training, ranked_by

BEFORE = "before.json"
"""The untrained model's figures, in a run's folder."""

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

    from counterpoint.training.report import Report


def measure(
    recipe: Recipe,
    task: Task,
    model: nn.Module,
    data: Any,
    report: Report | None,
    progress: Progress | bool | None = None,
) -> dict[str, dict[str, float]]:
    """Every split's figures, from the same random numbers whatever ran before."""
    from counterpoint.evaluation.benchmarks.measure import benchmark_figures
    from counterpoint.training.events import Bar
    from counterpoint.training.seeds import derive, seed_everything

    result: dict[str, dict[str, float]] = {}
    bar = Bar(progress)
    training = model.training
    for split in recipe.splits:
        seed_everything(derive(recipe.seed, "evaluate", split))
        model.eval()
        show = functools.partial(bar.show, f"measure {split}")
        with passes.limits(
            recipe.micro_batch_size,
            show,
            reply_tokens=recipe.reply_tokens,
            tokens=recipe.micro_batch_tokens,
        ):
            figures = dict(task.evaluate(model, data, split, seed=recipe.seed))
            if report is not None:
                figures |= of_training(task, report, data, split)
            if recipe.measure is not None:
                figures |= loaded(recipe.measure, "measure")(model, data, split, recipe.seed, report)
            if recipe.benchmarks and split == "test":
                figures |= benchmark_figures(recipe.benchmarks, model)
        if ranked_by(task, figures) is None:
            raise CounterpointError(
                f"{split} could not be measured by {task.primary}: there is {', '.join(figures) or 'nothing'}; "
                f"run with --no-evaluate, or give data whose {split} part has what it needs"
            )
        result[split] = {name: float(value) for name, value in figures.items()}
    bar.close()
    model.train(training)  # what is measured before the training is trained as it came
    return result


def figures_before(
    recipe: Recipe, task: Task, model: nn.Module, data: Any, out: Path, progress: Progress | bool | None
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The untrained model's figures, and by what they were measured."""
    if not recipe.before:
        return {}, {}
    file = out / BEFORE
    if not file.exists():
        # A case's own metrics are of a trained model: they may read what training reported.
        write_sealed(file, measure(replace(recipe, measure=None), task, model, data, None, progress))
    with shaped(file):
        figures = {split: numbers(given) for split, given in read_sealed(file).items()}
    return figures, measured_by(task, model, data)


def comparable(
    before: Mapping[str, Mapping[str, float]], way: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Figures before training, renamed where the trained model's of that name were measured otherwise.

    Args:
        before: split -> metric -> figure. way, after: metric -> what stood between model and figure, before and after.

    >>> comparable({"test": {"accuracy": 0.9, "silhouette": 0.1}}, {"accuracy": "probe"}, {})
    {'test': {'probe_accuracy': 0.9, 'silhouette': 0.1}}
    """

    def named(metric: str) -> str:
        if way.get(metric) == after.get(metric):
            return metric
        return f"{way.get(metric, 'head')}_{metric}"

    return {split: {named(m): value for m, value in figures.items()} for split, figures in before.items()}


def shared_primary(task: Task, metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The metric to rank by among those of every split."""
    shared = set.intersection(*map(set, metrics.values())) if metrics else set()
    return ranked_by(task, shared) or task.primary
