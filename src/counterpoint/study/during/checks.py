"""What is refused of a run before anything is trained: the form of its folder, its rows, its benchmarks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.study.recipe import Recipe
from counterpoint.tasks.task import Task

if TYPE_CHECKING:
    from torch import nn

    from counterpoint.methods.base import Method


def check_form(recipe: Recipe, method: Method[Any, Any], task: Task, start: nn.Module) -> None:
    """Refuse to save an adapter where there will be none, before anything is trained."""
    if recipe.save == "merged":
        return
    if "form" not in inspect.signature(task.save_model).parameters:
        raise CounterpointError(
            f"save={recipe.save}: models for {task.kind} have no adapters; leave --save out"
        )
    if not getattr(method, "lora_rank", 0) and not getattr(start, "adapted", False):
        raise CounterpointError(
            f"save={recipe.save}, and {recipe.key} trains every weight here, without adapters; give a rank, --lora-rank 16, or "
            "--save merged"
        )


def check_rows(method: Method[Any, Any], task: Task, data: Any) -> None:
    """Refuse what a method cannot learn from, and fewer training rows than its full batch, before anything is measured."""
    method.check(data)
    if not method.full_batches or task.kind in method.also:  # other kinds may have batches of their own
        return
    size, rows = getattr(method, "batch_size", 0), len(data.train)
    if rows < size:
        raise CounterpointError(
            f"{method.key} trains on full batches, and the {rows} training rows are fewer than batch_size={size}; give "
            f"--batch-size {max(2, 1 << max(rows // 2, 1).bit_length() - 1)}, or more data"
        )


def check_benchmarks(recipe: Recipe, start: nn.Module) -> None:
    """Refuse benchmarks that could not be measured at the end, before anything is trained."""
    if not recipe.benchmarks:
        return
    from counterpoint.evaluation.benchmarks.measure import require

    if not recipe.splits:
        raise CounterpointError(
            f"{', '.join(recipe.benchmarks)} is measured beside test, and nothing is measured; leave --no-evaluate or --benchmark out"
        )
    require(recipe.benchmarks, start)
