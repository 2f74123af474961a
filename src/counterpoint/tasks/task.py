"""A task is a kind of data: how it is loaded, which model fits it, and how a result is measured.

Each kind lives in one file, ``tasks/<kind>.py``, which holds an instance named ``TASK``. Nothing here loads torch;
a kind's file is imported when the kind is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from counterpoint.errors import CounterpointError, nearest, require_utf8
from counterpoint.evaluation.benchmarks.names import less_is_better
from counterpoint.tasks import descriptions
from counterpoint.tasks.descriptions.description import Description
from counterpoint.tasks.facts import Facts, rows_of

if TYPE_CHECKING:
    from torch import nn

    from counterpoint.training.report import Report


@runtime_checkable
class Data(Protocol):
    """Loaded and validated data of one kind, split three ways."""

    train: Any
    validation: Any
    test: Any

    def describe(self) -> list[str]:
        """What was understood, one sentence a line: rows, columns, lengths, classes, duplicates across splits."""
        ...

    def fingerprint(self) -> str:
        """Sha256 of the content; two data sets with the same fingerprint are the same data."""
        ...


@runtime_checkable
class Task(Protocol):
    """What a kind of data must offer so that any study can run on it.

    Attributes:
        kind: the catalog's name of the kind.
        primary: the metric a comparison ranks by where the data allow it; higher is better.
        default_model: the model used when none is given.

    How the kind is recognised and what it brings along is its description's (``tasks.descriptions``). A task may also offer
    ``measurements`` (what ``evaluate`` takes, see ``evaluation.measurement``: they say what they apply to, and through what a
    figure was measured), ``lower_is_better`` (names of metrics for which less is better), ``otherwise`` (metrics to rank by, in
    this order, for data that ``primary`` cannot be measured on), ``facts(data)`` (what advice on methods may rest on),
    ``fitted(model, data)`` (data as the model will read them, rows that are too long left out, or their refusal, before the first
    step), ``preview(model, data)`` (what ``check`` shows of both), ``reading(data)`` (how data were read, stored beside the model) and ``of_training(report, data, split)``: figures made of what a training reported of itself (``training.report.Report``), which
    go beside those of ``evaluate``.
    """

    kind: str
    primary: str
    default_model: str

    def load_data(self, spec: str, **options: Any) -> Any:
        """Load a bundled data set by name or a path in the kind's standard format.

        Raises:
            CounterpointError: the data cannot be used; says what was found, what was expected and what to do.
        """
        ...

    def load_model(self, spec: str, data: Any, seed: int) -> nn.Module:
        """Load a bundled or reference model by name (initialised from ``seed``), or a ``save_pretrained`` folder."""
        ...

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write an ordinary model folder: safetensors, config.json and the tokenizer if there is one."""
        ...

    def evaluate(self, model: nn.Module, data: Any, split: str, seed: int = 0) -> dict[str, float]:
        """Measure on ``split``, which is "validation" or "test"; the result holds ``primary`` or one of ``otherwise``."""
        ...


_modules: dict[str, str] = {}
_descriptions: dict[str, Description] = {}


def register(kind: str, module: str, description: Description | None = None) -> None:
    """Say which module holds the ``TASK`` of a kind that is not in ``tasks``.

    Args:
        kind: the kind's name.
        module: dotted module name; imported when the kind is first asked for.
        description: how the kind is recognised and what it brings along; None: by the names in its task's ``bundled`` alone.
    """
    _modules[kind] = module
    _descriptions.pop(kind, None)
    if description is not None:
        _descriptions[kind] = description


def kinds() -> list[str]:
    """Names of all kinds that can be run, sorted."""
    return sorted({*descriptions.ORDER, *_modules})


def described(kind: str) -> Description:
    """How a kind is recognised and what it brings along. Loads no torch for the kinds of this package."""
    if kind not in _modules:
        return descriptions.described(kind)
    if kind not in _descriptions:
        _descriptions[kind] = Description(kind=kind, bundled=getattr(task(kind), "bundled", {}))
    return _descriptions[kind]


def all_described() -> list[Description]:
    """The descriptions of all kinds, in the order in which they are tried: those that were registered come first."""
    return [described(kind) for kind in dict.fromkeys((*_modules, *descriptions.ORDER))]


def module_of(kind: str) -> str:
    """Dotted name of the module that holds a kind's ``TASK``, without importing it.

    >>> module_of("picures")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: no task handles data of kind 'picures'; ...
    """
    if kind in _modules:
        return _modules[kind]
    name = "counterpoint.tasks." + kind.replace("-", "_")
    if kind not in kinds():
        raise CounterpointError(f"no task handles data of kind '{kind}'; {nearest(kind, kinds())}")
    return name


def task(kind: str) -> Task:
    """Import and return the task of a kind."""
    name = module_of(kind)
    module = importlib.import_module(name)
    chosen = getattr(module, "TASK", None)
    if chosen is None:
        raise CounterpointError(f"{name} holds no TASK; end the file with TASK = {kind.title()}()")
    return cast(Task, chosen)


def measured_by(chosen: Task, model: nn.Module, data: Any) -> dict[str, str]:
    """Metric -> what stands between the model and its figure ("probe", "names"); empty where nothing does."""
    from counterpoint.evaluation.measurement import ways

    return ways(getattr(chosen, "measurements", ()), model, data)


def open_data(chosen: Task, spec: str, options: Mapping[str, Any] | None = None) -> Any:
    """Load data, also by a name on the hub; what a parser says of a damaged file becomes a message that names the file.

    Raises:
        CounterpointError: the task's own message, or the parser's.
    """
    require_utf8(spec, "data")
    spec = on_hub(chosen, spec)
    return _guarded(lambda: chosen.load_data(spec, **(options or {})), spec, f"{chosen.kind} data")


def on_hub(chosen: Task, spec: str) -> str:
    """The folder of a data set ``org/name[:config][@revision]`` on the hub; any other spec as it is."""
    if "/" not in spec or not getattr(chosen, "on_hub", True) or spec.split("?")[0] in bundled(chosen.kind):
        return spec
    from counterpoint.data import hub

    return str(hub.data(spec) or spec)


def open_model(
    chosen: Task, spec: str, data: Any, seed: int, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Load a model; what a library says of a damaged folder becomes a message that names the folder.

    Raises:
        CounterpointError: options for a kind whose models have none, the task's own message, or the library's.
    """
    if options and "options" not in inspect.signature(chosen.load_model).parameters:
        raise CounterpointError(
            f"models for {chosen.kind} have no options ({', '.join(options)}); leave --model-option out"
        )
    return _guarded(
        lambda: chosen.load_model(spec, data, seed, **(options or {})), spec, f"a model for {chosen.kind}"
    )


def fitted(chosen: Task, model: nn.Module, data: Any) -> Any:
    """Data as this model will read them, decided before the first step; the data as they are where a task says nothing."""
    fit = getattr(chosen, "fitted", None)
    return data if fit is None else fit(model, data)


def reading_of(chosen: Task, data: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """How data were read, as it is stored beside a model so that new rows are read alike; {} where there is nothing to say.

    ``options``: those of the data; columns of inputs that they name are kept.
    """
    read = getattr(chosen, "reading", None)
    result = {} if read is None else dict(read(data))
    inputs = (
        described(chosen.kind).inputs if chosen.kind in kinds() else ()
    )  # a worker knows no kind of a person's own
    given = [str(options[name]) for name in inputs if options.get(name)]
    columns = [name.strip() for names in given for name in names.split(",")]
    return {**result, "columns": columns} if columns else result


def _guarded(load: Callable[[], Any], spec: str, what: str) -> Any:
    try:
        return load()
    except CounterpointError:
        raise
    except Exception as error:
        if not Path(spec).exists():  # no file of a person's to blame: a fault of ours, shown whole
            raise
        reason = " ".join(str(error).split())[:300] or "it ends too early"
        raise CounterpointError(
            f"{spec} cannot be read as {what}: {type(error).__name__}: {reason}; see that the file is whole, or write it again"
        ) from error


def bundled(kind: str) -> Mapping[str, str]:
    """Names of the data sets a kind brings along, each with a line that says what it is; empty where it brings none."""
    return described(kind).bundled if kind in kinds() else {}


def ranked_by(chosen: Task, figures: Iterable[str]) -> str | None:
    """The metric to rank by among those that were measured; None when there is none of the task's."""
    names = set(figures)
    return next((name for name in (chosen.primary, *getattr(chosen, "otherwise", ())) if name in names), None)


def of_training(chosen: Task, report: Report, data: Any, split: str) -> dict[str, float]:
    """Figures that a task makes of what training reported of itself; none where it makes none."""
    make = getattr(chosen, "of_training", None)
    return {} if make is None else dict(make(report, data, split))


def lower_is_better(chosen: Task, metric: str) -> bool:
    """Whether less of this metric is better; the primary metric never is of this sort."""
    return metric in getattr(chosen, "lower_is_better", ()) or less_is_better(metric)


def facts_of(kind: str, data: Any) -> Facts:
    """Facts of loaded data: the task's own, or only how many rows there are where it offers none."""
    read = getattr(task(kind), "facts", None)
    return Facts(kind, rows_of(data.train)) if read is None else cast(Facts, read(data))
