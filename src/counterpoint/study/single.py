"""One run from a recipe: load, claim the folder, fit, save, measure, write the result. The same call resumes."""

from __future__ import annotations

import copy
import hashlib
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError, FolderInUse
from counterpoint.generation.samplers import ENGINE
from counterpoint.models import deferred, sharding
from counterpoint.models.lending import lent
from counterpoint.study import card
from counterpoint.study.cost import Memory, Meter, environment
from counterpoint.study.during import in_shards
from counterpoint.study.during.checks import (
    check_benchmarks,
    check_form,
    check_rows,
    check_same_command,
    check_same_data,
    opened,
)
from counterpoint.study.during.figures import BEFORE, comparable, figures_before, measure, shared_primary
from counterpoint.study.during.saved import save_model, saved_as
from counterpoint.study.files import write_text
from counterpoint.study.recipe import GIVEN, Recipe, plain, refuse_objects
from counterpoint.study.store import (
    ENDED,
    REPORTED,
    RESULT,
    Result,
    claim,
    discard_if_nothing_saved,
    grow,
    is_run,
    stored_recipe,
)
from counterpoint.tasks.task import (
    Task,
    fitted,
    measured_by,
    open_model,
    reading_of,
)

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

    from counterpoint.methods.base import Method
    from counterpoint.study.during.evaluation import Evaluation
    from counterpoint.training import Run


def execute(
    recipe: Recipe,
    out: Path,
    *,
    data: Any = None,
    model: nn.Module | None = None,
    progress: Progress | bool | None = None,
    keep_model: bool = True,
    keep_checkpoints: bool = False,
    trackers: Sequence[str] = (),
    checkpoint_seconds: float = 120.0,
) -> Result:
    """Execute a recipe in a folder; a finished one is read back, an unfinished one goes on.

    Args:
        recipe: what to run. out: the run's folder.
        data: loaded data of the recipe's task, to save loading it again. model: a handed-over model; it is copied.
        progress: shown bar; see ``Run``.
        keep_model, keep_checkpoints: what stays on disk once the run is finished.

    Raises:
        CounterpointError: nothing is left behind when it is raised before anything was saved.
        Interrupted: a signal came; everything is saved.
    """
    import torch

    from counterpoint.study.during.evaluation import evaluation_of
    from counterpoint.training import Budget, Run, distributed, launch, meeting

    first = meeting.meet()[0] == 0
    launch.agree(out)
    check_same_command(meeting.exchange(recipe.as_dict()))
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    task, method = recipe.build_task(), recipe.build_method()
    data = _data(recipe, task, data, out)
    budget = Budget(**_whole(recipe.budget))
    fingerprint = data.fingerprint()
    if first:
        grow(out, recipe, fingerprint)
    check_same_data(recipe, meeting.exchange(fingerprint))
    if is_run(out) and (out / RESULT).exists():
        claim(out, recipe, fingerprint)
        return Result.read(out)
    memory = Memory() if first else None
    with deferred.wanted(in_shards.spread(recipe)):
        start = _starting_model(recipe, task, data, model, out)
    check_form(recipe, method, task, start)
    in_shards.refuse(recipe, method)
    check_benchmarks(recipe, start)
    data = fitted(task, start, data)
    check_rows(method, task, data)
    with _claimed(recipe, fingerprint, out, first), distributed.others_alive():
        far = deferred.is_far(start)
        before, way = (
            figures_before(recipe, task, start, data, out, progress) if first and not far else ({}, {})
        )
        meter = Meter(out, memory) if first else None
        evaluation = evaluation_of(
            recipe, task, start, data, out,
            lambda chosen, model: measure(chosen, task, model, data, None, progress if first else False),
            # Adapters alone may stand on a model that no folder holds: the best is opened from its merged weights.
            saved_as(task, "both" if recipe.save == "adapter" else recipe.save),
        )  # fmt: skip
        try:
            run = Run(
                out,
                seed=recipe.seed,
                budget=budget,
                micro_batch_size=recipe.micro_batch_size,
                micro_batch_tokens=recipe.micro_batch_tokens,
                precision=recipe.computed_in,
                progress=progress,
                trackers=trackers,
                configuration={
                    "method": recipe.key,
                    **recipe.settings,
                    "data": recipe.data,
                    "model": recipe.model,
                    "seed": recipe.seed,
                },
                checkpoint_seconds=checkpoint_seconds,
                shard=recipe.shard == "fsdp",
                evaluator=None if evaluation is None else evaluation.evaluator,
            )
            if far and recipe.before:
                untrained = replace(recipe, measure=None)
                in_shards.measure_before(
                    recipe, start, run, out / BEFORE,
                    lambda model: measure(untrained, task, model, data, None, progress if first else False),
                )  # fmt: skip
                if first:
                    before, way = figures_before(recipe, task, start, data, out, progress)
            trained = _fit(
                method,
                task,
                start,
                data,
                run,
                out,
                meter,
                keep_model,
                recipe.save,
                keep_checkpoints,
                reading_of(task, data, recipe.data_options),
                evaluation,
            )
            metrics = _evaluated(recipe, task, trained, data, run, out, meter, progress)
        finally:
            cost = meter.stop() if meter is not None else {}
        if not first:
            return _of_other_process(recipe, task, out)
        measured = measured_by(task, trained, data)
        result = Result(
            folder=out,
            key=recipe.key,
            seed=recipe.seed,
            settings=dict(recipe.settings),
            changed=plain(method.changed()),
            metrics=metrics,
            before=comparable(before, way, measured),
            cost=cost,
            data={"spec": recipe.data, "fingerprint": fingerprint, "describe": list(data.describe())},
            environment=environment(),
            spent=_spent(run),
            primary=shared_primary(task, metrics),
            model=recipe.model,
            measured=measured,
        )
        if keep_model:
            write_text(out / "model" / "README.md", card.text(recipe, result, method, task))
        result.write()
        if not keep_checkpoints:
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
            if recipe.keep_model == "best":
                shutil.rmtree(out / "best", ignore_errors=True)  # model/ is it
        return result


def resume(out: Path, *, steps: int | None = None, progress: Progress | bool | None = None) -> Result:
    """Go on with the run in a folder, or read its result when it is finished.

    Args:
        steps: a larger number of steps than it was begun with; for a finished run whose checkpoints were kept.
    """
    if not is_run(out):
        raise CounterpointError(f"{out} holds no run; give the --out folder of counterpoint run or compare")
    if (out / RESULT).exists() and steps is None:
        return Result.read(out)
    recipe = stored_recipe(out)
    refuse_objects(recipe, out)
    if steps is not None:
        recipe = replace(recipe, budget={**recipe.budget, "steps": steps})
    extendable = (out / "checkpoints" / ENDED).exists()
    return execute(recipe.from_here(), out, progress=progress, keep_checkpoints=extendable)


def weights_digest(model: nn.Module) -> str:
    """Sha256 of a model's state: names, shapes, types and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


def _data(recipe: Recipe, task: Task, data: Any, out: Path) -> Any:
    """The data that was handed over, or the recipe's."""
    if data is not None:
        return data
    if recipe.data == GIVEN:
        refuse_objects(recipe, out)
    return opened(recipe, task)


@contextmanager
def _claimed(recipe: Recipe, fingerprint: str, out: Path, first: bool) -> Iterator[None]:
    """The folder as this run's; a fresh one goes again when an error comes before anything was saved.

    Raises:
        CounterpointError: on all processes of a launch, what the first one says of a folder that it cannot claim.
    """
    from counterpoint.training import meeting

    fresh, refused = False, None
    if first:
        try:
            fresh = claim(out, recipe, fingerprint)
        except CounterpointError as error:
            refused = error
    refusal = meeting.exchange(None if refused is None else str(refused))[0]
    if refusal is not None:
        raise refused or CounterpointError(refusal)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if fresh and not isinstance(error, FolderInUse):  # two that began at once both find it fresh
            discard_if_nothing_saved(out)
        raise


def _fit(
    method: Method[Any, Any],
    task: Task,
    start: nn.Module,
    data: Any,
    run: Run,
    out: Path,
    meter: Meter | None,
    keep_model: bool,
    form: str,
    keep_checkpoints: bool,
    reading: Mapping[str, Any],
    evaluation: Evaluation | None = None,
) -> nn.Module:
    """Train, and let the first process (the one with a meter) save the model and what training reported."""
    with run:
        trained = _unwrapped(method.fit(start, data, run))
        first, together = meter is not None, bool(sharding.sharded_in(trained))
        if meter is not None:
            meter.part("fit")
        written = None
        if evaluation is not None and (first or together):
            trained, written = evaluation.chosen(trained, run.reported, run.say)
        if keep_model:
            with lent(trained) as plain:
                if plain is not None:
                    save_model(task, plain, run.reported, out, form, reading, written)
        if first:
            run.reported.write(out / REPORTED)
            shutil.rmtree(out / ENGINE, ignore_errors=True)
        if keep_checkpoints:
            run.save_to_grow()
        run.pause()  # a signal that came after the last step
    return trained


def _evaluated(
    recipe: Recipe,
    task: Task,
    trained: nn.Module,
    data: Any,
    run: Run,
    out: Path,
    meter: Meter | None,
    progress: Progress | bool | None,
) -> dict[str, dict[str, float]]:
    """The trained model's figures, in the first process (the one with a meter); a signal saves the run.

    Weights in shards are measured by all processes, each on the same rows; a case's own measure gets a whole model.
    """
    from counterpoint.training import Interrupted

    if recipe.measure is not None:
        trained = run.gathered(trained)
    if meter is None:
        if recipe.measure is None and sharding.sharded_in(trained):
            measure(recipe, task, trained, data, run.reported, False)
        return {}
    try:
        metrics = measure(recipe, task, trained, data, run.reported, progress)
    except KeyboardInterrupt as stop:
        run.save()
        raise Interrupted(out, getattr(stop, "number", signal.SIGINT)) from None
    meter.part("evaluate")
    return metrics


def _of_other_process(recipe: Recipe, task: Task, out: Path) -> Result:
    """What a process that is not the first returns: the first one measures and writes."""
    return Result(
        folder=out,
        key=recipe.key,
        seed=recipe.seed,
        settings={},
        changed={},
        metrics={},
        before={},
        cost={},
        data={},
        environment={},
        spent={},
        primary=task.primary,
        model=recipe.model,
    )


def _starting_model(recipe: Recipe, task: Task, data: Any, model: nn.Module | None, out: Path) -> nn.Module:
    from counterpoint.training.seeds import derive, seed_everything

    seed_everything(derive(recipe.seed, "model"))
    if model is not None:
        if recipe.model_options:
            raise CounterpointError(
                f"model_options ({', '.join(recipe.model_options)}) are of a folder's loader, and the model is an object; open "
                "it so: counterpoint.models.language.language.load(FOLDER, dtype=...)"
            )
        return copy.deepcopy(model)
    if recipe.model == GIVEN:
        refuse_objects(recipe, out)
    return open_model(task, recipe.model, data, recipe.seed, recipe.model_options)


def _unwrapped(model: nn.Module) -> nn.Module:
    from accelerate.utils import extract_model_from_parallel

    return extract_model_from_parallel(model)


def _whole(budget: dict[str, float] | Any) -> dict[str, Any]:
    return {
        name: value if name == "seconds" else int(value)
        for name, value in budget.items()
        if value is not None
    }


def _spent(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.cursor.spent.items() if value}
