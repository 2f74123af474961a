"""What is refused of a run before anything is trained: the form of its folder, its rows, its benchmarks; data
or a command that processes do not share.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.methods import groups
from counterpoint.study.recipe import Recipe, differences
from counterpoint.tasks import recognise
from counterpoint.tasks.task import Task, open_data

if TYPE_CHECKING:
    from torch import nn

    from counterpoint.methods.base import Method


def opened(recipe: Recipe, task: Task) -> Any:
    """A recipe's data; where they cannot be read and look like another kind, the message says so."""
    try:
        return open_data(task, recipe.data, recipe.data_options)
    except MissingExtra:
        raise
    except CounterpointError as error:
        try:
            like = recognise.kind_of(recipe.data)
        except CounterpointError:
            like = task.kind
        if like == task.kind:
            raise
        learns = like in recipe.build_method().also
        how = f"--kind {like}" if learns else f"counterpoint recommend --data {recipe.data}"
        which = f"{recipe.key} learns from them, too" if learns else f"{recipe.key} learns from {task.kind}"
        raise CounterpointError(f"{error}. These look like {like}; {which}: {how}") from None


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
    setting = batch_setting(method, task.kind)
    if setting is None:
        return
    size, rows = groups.value_of(method, setting), len(data.train)
    option = setting.replace("_", "-")
    hard = getattr(data, "num_negatives", 0) and groups.flat(method).get(
        setting.replace("batch_size", "hard_negatives")
    )
    if size < 2 and not hard:
        raise CounterpointError(
            f"{method.key}: {setting}={size}; the other rows of a batch are what each row is set against, and there are none: give at "
            f"least 2, such as --{option} {groups.value_of(type(method)(), setting)}"
        )
    if rows < size:
        raise CounterpointError(
            f"{method.key} sets each row against the others of a full batch, and the {rows} training rows are fewer than "
            f"{setting}={size}; give --{option} {smaller_batch(rows)}, or more data"
        )


def batch_setting(method: Method[Any, Any], kind: str) -> str | None:
    """The setting that holds the rows of a batch that must be full on a kind of data, because a row is set against the others."""
    own = "batch_size" if method.full_batches and kind not in method.also else None
    return method.contrasts.get(kind, own)  # other kinds may have batches of their own


def smaller_batch(rows: int) -> int:
    """Rows of a batch that so many fill at least twice; 2 where they are fewer than four.

    >>> smaller_batch(14), smaller_batch(64), smaller_batch(1)
    (4, 32, 2)
    """
    return max(2, 1 << max(rows // 2, 1).bit_length() - 1)


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


def check_same_command(recipes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse processes that were started with different settings; what they have read is ``check_same_data``'s.

    Raises:
        CounterpointError: on every process of a launch, when one was asked for another run than the first.
    """
    own = ("data", "data_options", "cwd", "threads")
    settings = [{name: value for name, value in each.items() if name not in own} for each in recipes]
    for other, each in enumerate(settings):
        if changes := differences(each, settings[0]):
            raise CounterpointError(
                f"process {other} was asked for another run than the first process ({'; '.join(changes[:3])}); start all with the "
                "same command"
            )


def check_same_data(recipe: Recipe, fingerprints: Sequence[str]) -> None:
    """Refuse what would train on rows of different files.

    Raises:
        CounterpointError: on every process of a launch, when one has read other data than the first.
    """
    for other, fingerprint in enumerate(fingerprints):
        if fingerprint != fingerprints[0]:
            raise CounterpointError(
                f"process {other} has read other data from {recipe.data} than the first process (fingerprint {fingerprint}, not "
                f"{fingerprints[0]}); give every machine the same files"
            )
