"""The benchmarks of a run: refused before anything is trained where they cannot be measured, and measured beside test."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from torch import nn

from counterpoint.evaluation.benchmarks import beir, lm_eval_tasks, mteb_tasks
from counterpoint.evaluation.benchmarks.names import benchmarks_of

OF: dict[str, ModuleType] = {"mteb": mteb_tasks, "lm-eval": lm_eval_tasks, "beir": beir}
"""What measures the benchmarks of each program: ``require``, ``require_model`` and ``figures``."""


def require(names: Sequence[str], model: nn.Module | None = None) -> None:
    """See that every benchmark can be measured, of this model if it is given.

    Raises:
        MissingExtra: a program is not installed. CounterpointError: no such task, or no model of its sort.
    """
    for one in benchmarks_of(names):
        OF[one.program].require(one.task, one.label)
        if model is not None:
            OF[one.program].require_model(model, one.label)


def benchmark_figures(names: Sequence[str], model: nn.Module) -> dict[str, float]:
    """The figures of all of them, ``beir:food ndcg@10`` and the like; the model is in the mode it is given in.

    Raises:
        CounterpointError: a program's own, with the benchmark's name.
    """
    return {
        f"{one.label} {metric}": value
        for one in benchmarks_of(names)
        for metric, value in OF[one.program].figures(model, one.task, one.label).items()
    }
