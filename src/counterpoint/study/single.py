"""One run from a recipe: load, claim the folder, fit, save, measure, write the result. The same call resumes."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError
from counterpoint.models import deferred, passes, sharding
from counterpoint.models.lending import lent
from counterpoint.study import card
from counterpoint.study.cost import Memory, Meter, environment
from counterpoint.study.during import in_shards
from counterpoint.study.files import disk, read_sealed, shaped, write_json, write_sealed, write_text
from counterpoint.study.recipe import GIVEN, Recipe, loaded, plain, refuse_objects
from counterpoint.study.store import (
    ENDED,
    REPORTED,
    RESULT,
    Result,
    claim,
    discard_if_nothing_saved,
    grow,
    is_run,
    numbers,
    stored_recipe,
)
from counterpoint.tasks.task import (
    Task,
    fitted,
    measured_by,
    of_training,
    open_data,
    open_model,
    ranked_by,
    reading_of,
)

BEFORE = "before.json"
"""The untrained model's figures, in a run's folder."""

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

    from counterpoint.methods.base import Method
    from counterpoint.study.during.evaluation import Evaluation
    from counterpoint.training import Run
    from counterpoint.training.report import Report


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
    from counterpoint.training import Budget, Run, launch

    first = launch.meet()[0] == 0
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    task, method = recipe.build_task(), recipe.build_method()
    data = _data(recipe, task, data, out)
    budget = Budget(**_whole(recipe.budget))
    fingerprint = data.fingerprint()
    if first:
        grow(out, recipe, fingerprint)
    launch.together()
    if is_run(out) and (out / RESULT).exists():
        claim(out, recipe, fingerprint)
        return Result.read(out)
    memory = Memory() if first else None
    with deferred.wanted(in_shards.spread(recipe)):
        start = _starting_model(recipe, task, data, model, out)
    _check_form(recipe, method, task, start)
    in_shards.refuse(recipe, method)
    _check_benchmarks(recipe, start)
    data = fitted(task, start, data)
    _check_rows(method, task, data)
    with _claimed(recipe, fingerprint, out, first):
        far = deferred.is_far(start)
        before, way = _before(recipe, task, start, data, out, progress) if first and not far else ({}, {})
        meter = Meter(out, memory) if first else None
        evaluation = evaluation_of(
            recipe, task, start, data, out,
            lambda chosen, model: _measure(chosen, task, model, data, None, progress if first else False),
            # Adapters alone may stand on a model that no folder holds: the best is opened from its merged weights.
            _saved_as(task, "both" if recipe.save == "adapter" else recipe.save),
        )  # fmt: skip
        try:
            run = Run(
                out,
                seed=recipe.seed,
                budget=budget,
                micro_batch_size=recipe.micro_batch_size,
                micro_batch_tokens=recipe.micro_batch_tokens,
                precision=recipe.precision,
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
                    lambda model: _measure(untrained, task, model, data, None, progress if first else False),
                )  # fmt: skip
                if first:
                    before, way = _before(recipe, task, start, data, out, progress)
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
            primary=_shared_primary(task, metrics),
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
    return open_data(task, recipe.data, recipe.data_options)


@contextmanager
def _claimed(recipe: Recipe, fingerprint: str, out: Path, first: bool) -> Iterator[None]:
    """The folder as this run's; a fresh one goes again when an error comes before anything was saved."""
    fresh = claim(out, recipe, fingerprint) if first else False
    try:
        yield
    except (Exception, KeyboardInterrupt):
        if fresh:
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
                    _save_model(task, plain, run.reported, out, form, reading_of(task, data), written)
        if first:
            run.reported.write(out / REPORTED)
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
            _measure(recipe, task, trained, data, run.reported, False)
        return {}
    try:
        metrics = _measure(recipe, task, trained, data, run.reported, progress)
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


def _before(
    recipe: Recipe, task: Task, model: nn.Module, data: Any, out: Path, progress: Progress | bool | None
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The untrained model's figures, and by what they were measured."""
    if not recipe.before:
        return {}, {}
    file = out / BEFORE
    if not file.exists():
        # A case's own metrics are of a trained model: they may read what training reported.
        write_sealed(file, _measure(replace(recipe, measure=None), task, model, data, None, progress))
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


def _measure(
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


def _shared_primary(task: Task, metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The metric to rank by among those of every split."""
    shared = set.intersection(*map(set, metrics.values())) if metrics else set()
    return ranked_by(task, shared) or task.primary


def _save_model(
    task: Task,
    model: nn.Module,
    report: Report,
    out: Path,
    form: str,
    reading: Mapping[str, Any],
    written: Path | None = None,
) -> None:
    """Write the model folder aside, with how the data were read, then publish it; a full disk leaves none.

    ``written``: the folder that the model was written to already.
    """
    from counterpoint.models.model_folders import READING
    from counterpoint.training.durable import MANIFEST, write_folder

    def save(folder: Path) -> None:
        if written is not None:
            shutil.copytree(written, folder, dirs_exist_ok=True)
        else:
            _saved_as(task, form)(model, folder)
        report.write_tables(folder)
        if reading:
            write_json(folder / READING, dict(reading))

    with disk(out / "model"):
        write_folder(out / "model", save)
        (out / "model" / MANIFEST).unlink(missing_ok=True)


def _saved_as(task: Task, form: str) -> Callable[[nn.Module, Path], None]:
    """What writes a model's folder in the form that was asked for."""
    options = {} if form == "merged" else {"form": form}
    return lambda model, folder: task.save_model(model, folder, **options)


def _check_form(recipe: Recipe, method: Method[Any, Any], task: Task, start: nn.Module) -> None:
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


def _check_rows(method: Method[Any, Any], task: Task, data: Any) -> None:
    """Refuse fewer training rows than a batch for a method that leaves out what makes no full one, before anything is measured."""
    if not method.full_batches or task.kind in method.also:  # other kinds may have batches of their own
        return
    size, rows = getattr(method, "batch_size", 0), len(data.train)
    if rows < size:
        raise CounterpointError(
            f"{method.key} trains on full batches, and the {rows} training rows are fewer than batch_size={size}; give "
            f"--batch-size {max(2, 1 << max(rows // 2, 1).bit_length() - 1)}, or more data"
        )


def _check_benchmarks(recipe: Recipe, start: nn.Module) -> None:
    """Refuse benchmarks that could not be measured at the end, before anything is trained."""
    if not recipe.benchmarks:
        return
    from counterpoint.evaluation.benchmarks.measure import require

    if not recipe.splits:
        raise CounterpointError(
            f"{', '.join(recipe.benchmarks)} is measured beside test, and nothing is measured; leave --no-evaluate or --benchmark out"
        )
    require(recipe.benchmarks, start)


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
