"""Runs whose weights are in shards: which methods may, what is opened without its weights, and the untrained model's figures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import nn

from counterpoint.errors import CounterpointError
from counterpoint.study.files import write_sealed
from counterpoint.study.recipe import Recipe
from counterpoint.training import launch, meeting
from counterpoint.training.seeds import derive, seed_everything

if TYPE_CHECKING:
    from counterpoint.methods.base import Method
    from counterpoint.training import Run


def in_shards(recipe: Recipe) -> bool:
    """Whether the recipe, or the launcher's configuration, asks for weights in shards."""
    return recipe.shard == "fsdp" or launch.sharded_launch()


def spread(recipe: Recipe) -> bool:
    """Whether there are several processes to hold the shards."""
    return in_shards(recipe) and meeting.meet()[1] > 1


def refuse(recipe: Recipe, method: Method[Any, Any]) -> None:
    """Refuse weights in shards for a method that was never seen to train them: processes that differ in their calls would wait
    for one another for ever.

    Raises:
        CounterpointError: such a method.
    """
    if in_shards(recipe) and not method.shards:
        raise CounterpointError(
            f"{recipe.key} does not train weights in shards; docs/scale.md names the methods that do. Leave --shard out: each "
            "process then holds the whole model"
        )


def measure_before(
    recipe: Recipe,
    start: nn.Module,
    run: Run,
    file: Path,
    measure: Callable[[nn.Module], Mapping[str, Mapping[str, float]]],
) -> None:
    """Measure an untrained model that is still in its files, and write its figures: all processes do, with weights in shards."""
    missing = [run.rank == 0 and not file.exists()]
    dist.broadcast_object_list(missing, src=0)
    if not missing[0]:
        return
    spare = copy.deepcopy(start)
    launch.sharded(spare, run.mesh, run.accelerator.mixed_precision)
    figures = measure(spare)
    if run.rank == 0:
        write_sealed(file, figures)
    seed_everything(derive(recipe.seed, "start"))  # as a run begins that measured nothing
