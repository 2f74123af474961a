"""Everything that decides a run's result, as plain data: what makes two runs the same run, and what resumes one."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from counterpoint.errors import CounterpointError, require_utf8
from counterpoint.methods import catalog, groups
from counterpoint.methods.base import Method
from counterpoint.study import sources
from counterpoint.study.options import Recorded, identifying
from counterpoint.tasks.precision import Precision, of_device
from counterpoint.tasks.task import Task, bundled, kinds, module_of, task

GIVEN = "given"
"""Stands for a model or data that was handed over as an object, which no command can name."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Recorded):
    """One run, by name: any process can execute it from this alone. The run's options are those of ``Recorded``.

    Attributes:
        key: the method's catalog key. method: import path "module:Class" of a method that is not the catalog's.
        settings: every setting by its (dotted) name, as plain data.
        kind: of data. task: dotted name of the module with the ``TASK`` of a kind that a person registered.
        data, model: what the task loads; ``GIVEN`` for objects handed over.
        model_given: sha256 of a handed-over model's weights.
        budget: limits by name; empty means the method's own number of epochs.
        splits: what is measured at the end. before: whether the untrained model is measured, too.
        measure: import path "module:function" of a case's extra metrics.
        threads: how it is computed; no part of what is computed.
        cwd: the working directory that relative paths were written for.

    A precision of "auto" becomes what it is on this machine.
    """

    key: str
    settings: Mapping[str, Any]
    kind: str
    data: str
    model: str
    model_given: str | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    splits: tuple[str, ...] = ("test",)
    before: bool = False
    measure: str | None = None
    threads: int | None = None
    cwd: str | None = None
    method: str | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        if self.precision == "auto":
            object.__setattr__(self, "precision", of_device(self.kind))
        require_utf8(dataclasses.asdict(self), f"run of {self.key}")

    @property
    def computed_in(self) -> Precision:
        """The precision, which is no longer "auto"."""
        return cast(Precision, self.precision)

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it: tuples become lists, paths and dtypes text; no module is named for what is this package's."""
        foreign = {name: getattr(self, name) for name in ("method", "task")}
        rest = {name: value for name, value in dataclasses.asdict(self).items() if name not in foreign}
        return plain(rest | {name: path for name, path in foreign.items() if path is not None})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Recipe:
        """From ``as_dict``, or from an older run.json, which named this package's modules, too."""
        names = {f.name for f in dataclasses.fields(cls)}
        ours = {
            "method": stored.get("key") in catalog.rows(),
            "task": stored.get("kind") in kinds(),
        }
        fields = {
            name: value
            for name, value in stored.items()
            if name in names and not (ours.get(name) and str(value).startswith("counterpoint."))
        }
        lists = {
            "splits": tuple(fields.get("splits", ("test",))),
            "benchmarks": tuple(fields.get("benchmarks", ())),
        }
        return cls(**{**fields, **lists})

    def identity(self, fingerprint: str, form: int = sources.FORM) -> dict[str, Any]:
        """What two runs must share to be the same run; ``fingerprint`` is the data's, ``form`` that of an older folder."""
        mine = self.as_dict()
        own = ("key", "settings", "model", "model_given", "budget", "splits", "measure")
        names = (*own, *identifying(self))
        by_content = {name: sources.content(mine[name], form) for name in names}
        by_content["settings"] |= self._written(os.path.realpath)
        return {"form": form, "data_fingerprint": fingerprint, **by_content}

    def identity_by_path(self, fingerprint: str) -> dict[str, Any]:
        """The identity as it was before it rested on content: what older folders hold."""
        mine = self.as_dict()
        names = (name for name in self.identity(fingerprint) if name not in ("form", "data_fingerprint"))
        return {"data_fingerprint": fingerprint, **{name: mine[name] for name in names}}

    def from_here(self) -> Recipe:
        """The same recipe for a process in another working directory than the one it was written in."""
        if self.cwd is None or self.cwd == os.getcwd():
            return self
        names = bundled(self.kind)
        return dataclasses.replace(
            self,
            data=sources.located_data(self.data, self.cwd, names),
            model=sources.located(self.model, self.cwd),
            data_options=sources.located(self.data_options, self.cwd),
            benchmarks=tuple(sources.located(self.benchmarks, self.cwd)),
            settings={**sources.located(self.settings, self.cwd), **self._written(str)},
        )

    def _written(self, form: Callable[[str], str]) -> dict[str, str]:
        """Settings that name a folder which the method writes: absolute, since it may not be there yet."""
        names = [name for name in self.method_class().writes if self.settings.get(name)]
        return {name: form(os.path.join(self.cwd or os.getcwd(), self.settings[name])) for name in names}

    def method_class(self) -> type[Method[Any, Any]]:
        """The method's class: the catalog's, or a person's own whose module they have imported."""
        return catalog.load(self.key) if self.method is None else loaded(self.method, "method")

    def build_method(self) -> Method[Any, Any]:
        """The method with this recipe's settings."""
        return self.method_class().settings(**self.settings)

    def build_task(self) -> Task:
        """The kind's task: the package's own, one that is registered, or one whose module is imported."""
        if self.kind in kinds() or self.task is None:
            return task(self.kind)
        return loaded(self.task + ":TASK", "kind of data")

    def foreign_modules(self) -> list[str]:
        """Modules outside this package that the run needs; a process that is given the recipe imports them first."""
        paths = [path for path in (self.method, self.task, self.measure) if path is not None]
        return sorted({path.partition(":")[0] for path in paths} - {"__main__"})


def recipe_of(method: Method[Any, Any], kind: str, **rest: Any) -> Recipe:
    """The recipe of a built method; ``rest`` are the remaining fields of ``Recipe``."""
    cls = type(method)
    own_task = module_of(kind)
    return Recipe(
        key=method.key,
        settings=plain(groups.flat(method)),
        kind=kind,
        method=None if _of_catalog(cls) else f"{cls.__module__}:{cls.__qualname__}",
        task=None if own_task.startswith("counterpoint.") else own_task,
        **{"cwd": os.getcwd(), **rest},
    )


def _of_catalog(cls: type[Method[Any, Any]]) -> bool:
    return cls.key in catalog.rows() and cls.__module__ == catalog.row(cls.key).module


def loaded(path: str, what: str) -> Any:
    """What "module:name" names, from a module that is imported already: a file in a folder never makes us import one.

    Raises:
        CounterpointError: the module is not imported; with the Python lines that go on.

    >>> loaded("json:dumps", "method")([1])
    '[1]'
    >>> loaded("os.system:TASK", "kind of data")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: this run's kind of data is os.system:TASK, which is not of this package; ...
    """
    module = path.partition(":")[0]
    if module not in sys.modules and not module.startswith("counterpoint."):
        raise CounterpointError(
            f"this run's {what} is {path}, which is not of this package; its module is not imported because a file names "
            f"it: from Python, import {module}, then counterpoint.resume(the run's folder)"
        )
    return imported(path)


def imported(path: str) -> Any:
    """Return what "module:name" names.

    >>> imported("math:sqrt")(9)
    3.0
    """
    module, _, name = path.partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


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
