"""From a method's key, data and limits to the recipe of a run and the arms of a study. Loads no torch by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError, nearest
from counterpoint.methods import catalog
from counterpoint.methods.base import Method
from counterpoint.study.options import RunOptions
from counterpoint.study.recipe import GIVEN, Recipe, recipe_of
from counterpoint.study.store import is_run

if TYPE_CHECKING:
    from counterpoint.study.plan import Entry


def build(method: str | Method[Any, Any], settings: Mapping[str, Any] | None = None) -> Method[Any, Any]:
    """A method from its key and settings; a built one is returned as it is.

    Raises:
        CounterpointError: an unknown key or setting (with the nearest name), a planned method, settings given twice.
    """
    if isinstance(method, str):
        return catalog.load(method).settings(**(settings or {}))
    if settings:
        raise CounterpointError(
            f"settings={dict(settings)} beside a built {type(method).__name__}; set them on the method itself"
        )
    return method


def kind_of(method: Method[Any, Any], kind: str | None = None) -> str:
    """The kind of data a method learns from: the one given, or the catalog's."""
    return kind or catalog.row(method.key).kind


def require_learns(method: Method[Any, Any], kind: str) -> None:
    """Refuse a kind of data that a method of the catalog does not learn from, before any of it is read.

    Raises:
        CounterpointError: with the kinds that it learns from.
    """
    if method.key not in catalog.rows():
        return
    learns = (kind_of(method), *method.also)
    if kind not in learns:
        raise CounterpointError(
            f"{method.key} learns from {' and '.join(learns)}, and kind={kind} was given; leave it out, or take a method that learns from "
            f"{kind}: counterpoint list names each with its data"
        )


def recipe(
    method: Method[Any, Any],
    *,
    data: Any,
    model: Any = None,
    splits: Sequence[str] = ("test",),
    before: bool = False,
    **options: Any,
) -> Recipe:
    """The recipe of one run.

    Args:
        data, model: names or paths, or objects (then named ``GIVEN``).
        splits: what is measured at the end. before: whether the untrained model is measured, too.
        options: see ``study.options.RunOptions``.
    """
    from counterpoint.tasks.task import task

    chosen = RunOptions.of(options)
    kind = kind_of(method, chosen.kind)
    require_learns(method, kind)
    if _named(data) == GIVEN and chosen.max_length is not None:
        raise CounterpointError(
            f"max_length={chosen.max_length} is an option of the data's loader, and the data is an object; load it so: "
            f"load(PATH, max_length={chosen.max_length})"
        )
    digest = None
    if model is not None and not isinstance(model, str | Path):
        from counterpoint.study.single import weights_digest

        digest = weights_digest(model)
    return recipe_of(
        method,
        kind,
        data=_named(data),
        model=task(kind).default_model if model is None else _named(_of_run(model)),
        model_given=digest,
        budget=chosen.budget,
        splits=tuple(splits),
        before=before,
        **chosen.recorded(),
    )


def entries(
    methods: Iterable[str | Method[Any, Any]] | Mapping[str, str | Method[Any, Any]],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **rest: Any,
) -> list[Entry]:
    """The arms of a study, one for each method.

    Args:
        methods: keys or built methods; a mapping names the arms, so that a method may come twice.
        settings: arm -> settings, for arms that are keys.
        rest: as for ``recipe``.
    """
    from counterpoint.study.plan import Entry
    from counterpoint.study.reproduce import usable

    named: Mapping[str, str | Method[Any, Any]] = (
        methods
        if isinstance(methods, Mapping)
        else {(m if isinstance(m, str) else m.key): m for m in _once(methods)}
    )
    for name in settings or {}:
        if name not in named:
            raise CounterpointError(
                f"settings for '{name}', which is not in the comparison; {nearest(name, named)}"
            )
    built = {name: build(m, (settings or {}).get(name)) for name, m in named.items()}
    kinds = {kind_of(m, rest.get("kind")) for m in built.values()}
    if len(kinds) > 1:
        shared = [k for k in sorted(kinds) if all(k in (kind_of(m), *m.also) for m in built.values())]
        kinds, rest = (set(shared), {**rest, "kind": shared[0]}) if len(shared) == 1 else (kinds, rest)
    if len(kinds) > 1:
        learns = ", ".join(f"{name} learns from {kind_of(m)}" for name, m in built.items())
        raise CounterpointError(f"these cannot be compared on the same data: {learns}")
    return [
        Entry(
            name=name,
            recipe=recipe(m, **rest),
            tune=usable(m.ranges(kind_of(m, rest.get("kind"))), (settings or {}).get(name, {})),
            title=catalog.row(m.key).title if m.key in catalog.rows() else "",
            baseline=m.key in catalog.rows() and catalog.row(m.key).baseline,
        )
        for name, m in built.items()
    ]


def _of_run(model: Any) -> Any:
    """The model of a run where its --out folder was given (a warm start); anything else as it is.

    Raises:
        CounterpointError: a run that has no model yet.
    """
    if not isinstance(model, str | Path) or not is_run(Path(model)):
        return model
    if not (Path(model) / "model").is_dir():
        raise CounterpointError(
            f"the run in {model} has no model yet; counterpoint resume {model} goes on with it, or give another model"
        )
    return Path(model) / "model"


def _named(given: Any) -> str:
    return str(given) if isinstance(given, str | Path) else GIVEN


def _once(methods: Iterable[str | Method[Any, Any]]) -> list[str | Method[Any, Any]]:
    listed: list[str | Method[Any, Any]] = [methods] if isinstance(methods, str) else list(methods)
    keys = [m if isinstance(m, str) else m.key for m in listed]
    for key in keys:
        if keys.count(key) > 1:
            raise CounterpointError(
                f"'{key}' is given twice; name the arms: compare({{'small': ..., 'large': ...}})"
            )
    return listed
