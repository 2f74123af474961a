"""Everything that decides a run's result, as plain data: what makes two runs the same run, and what resumes one."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from counterpoint.errors import CounterpointError
from counterpoint.methods import groups
from counterpoint.study import sources
from counterpoint.tasks.task import Task, bundled, kinds, module_of, task

if TYPE_CHECKING:
    from torch import nn

    from counterpoint.training import Run

FORM = 2
"""Of the identity in run.json: 2 rests on content, the one before had paths."""

GIVEN = "given"
"""Stands for a model or data that was handed over as an object, which no command can name."""


@runtime_checkable
class Trainable(Protocol):
    """What a study needs of a method; every ``counterpoint.methods.base.Method`` is one."""

    key: ClassVar[str]
    search: ClassVar[dict[str, Any]]

    def fit(self, model: nn.Module, data: Any, run: Run) -> nn.Module:
        """Train and return the model to keep."""
        ...

    @classmethod
    def settings(cls, **given: Any) -> Any:
        """Build the method from loosely typed settings."""
        ...

    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Settings that differ from the paper's."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, by name: any process can execute it from this alone.

    Attributes:
        method: import path "module:Class" of the method. key: its catalog key.
        settings: every setting by its (dotted) name, as plain data.
        task: dotted name of the module that holds the kind's ``TASK``. kind: its name.
        data, data_options, model: what the task loads; ``GIVEN`` for objects handed over.
        model_given: sha256 of a handed-over model's weights.
        budget: limits by name; empty means the method's own number of epochs.
        splits: what is measured at the end. before: whether the untrained model is measured, too.
        measure: import path "module:function" of a case's extra metrics.
        micro_batch_size, threads: how it is computed; they are no part of what is computed.
        cwd: the working directory that relative paths were written for.
    """

    method: str
    key: str
    settings: Mapping[str, Any]
    task: str
    kind: str
    data: str
    data_options: Mapping[str, Any] = field(default_factory=dict)
    model: str
    model_given: str | None = None
    seed: int = 0
    budget: Mapping[str, float] = field(default_factory=dict)
    precision: str = "no"
    splits: tuple[str, ...] = ("test",)
    before: bool = False
    measure: str | None = None
    micro_batch_size: int | None = None
    threads: int | None = None
    cwd: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it: tuples become lists, paths and dtypes become text."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Recipe:
        """From ``as_dict``."""
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {name: value for name, value in stored.items() if name in known}
        return cls(**{**kept, "splits": tuple(kept.get("splits", ("test",)))})

    def identity(self, fingerprint: str) -> dict[str, Any]:
        """What two runs must share to be the same run; ``fingerprint`` is the data's."""
        mine = self.as_dict()
        names = (
            "key",
            "settings",
            "model",
            "model_given",
            "seed",
            "budget",
            "precision",
            "data_options",
            "splits",
            "measure",
        )
        by_content = {name: sources.content(mine[name]) for name in names}
        return {"form": FORM, "data_fingerprint": fingerprint, **by_content}

    def identity_by_path(self, fingerprint: str) -> dict[str, Any]:
        """The identity as it was before it rested on content: what older folders hold."""
        mine = self.as_dict()
        names = (name for name in self.identity(fingerprint) if name not in ("form", "data_fingerprint"))
        return {"data_fingerprint": fingerprint, **{name: mine[name] for name in names}}

    def from_here(self) -> Recipe:
        """The same recipe for a process in another working directory than the one it was written in."""
        if self.cwd is None or self.cwd == os.getcwd():
            return self
        names = bundled(self.build_task())
        return dataclasses.replace(
            self,
            data=sources.located_data(self.data, self.cwd, names),
            model=sources.located(self.model, self.cwd),
            data_options=sources.located(self.data_options, self.cwd),
            settings=sources.located(self.settings, self.cwd),
        )

    def build_method(self) -> Trainable:
        """Import the method's class and build it; one of the catalog's is found by its key, wherever its file lies."""
        from counterpoint.methods import catalog

        ours = self.method.startswith("counterpoint.") and self.key in catalog.rows()
        return (catalog.load(self.key) if ours else imported(self.method)).settings(**self.settings)

    def build_task(self) -> Task:
        """Import the task: the kind's own, or for a kind of a person's making the module that was registered."""
        return task(self.kind) if self.kind in kinds() else imported(self.task + ":TASK")


def recipe_of(method: Trainable, kind: str, **rest: Any) -> Recipe:
    """The recipe of a built method; ``rest`` are the remaining fields of ``Recipe``."""
    cls = type(method)
    settings = plain(groups.flat(method))
    path = f"{cls.__module__}:{cls.__qualname__}"
    return Recipe(
        method=path,
        key=method.key,
        settings=settings,
        task=module_of(kind),
        kind=kind,
        **{"cwd": os.getcwd(), **rest},
    )


def imported(path: str) -> Any:
    """Return what "module:name" names.

    >>> imported("math:sqrt")(9)
    3.0
    """
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def plain(value: Any) -> Any:
    """Turn a value into what JSON gives back: lists for tuples, text for paths.

    >>> plain({"betas": (0.9, 0.95), "step": 1})
    {'betas': [0.9, 0.95], 'step': 1}
    """
    return json.loads(json.dumps(value, default=str))


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name what differs between two nested mappings, one line each.

    >>> differences({"seed": 1, "settings": {"t": 2}}, {"seed": 1, "settings": {"t": 3}})
    ['settings.t: 3 there, 2 asked for']
    """
    lines: list[str] = []
    for name in sorted(set(ours) | set(theirs)):
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            lines.append(f"{prefix}{name}: {json.dumps(b)} there, {json.dumps(a)} asked for")
    return lines


def refuse_objects(recipe: Recipe, out: Path) -> None:
    """Say that a run whose data or model was handed over as an object cannot be started from its folder alone."""
    if GIVEN in (recipe.data, recipe.model):
        raise CounterpointError(
            f"the run in {out} was started from Python with its own data or model object; resume it with the same "
            "counterpoint.run(...) call"
        )
