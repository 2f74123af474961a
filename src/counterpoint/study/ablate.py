"""One setting at a time: what each part of a method is worth, everything else being as it was."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from counterpoint.errors import CounterpointError, nearest
from counterpoint.methods import groups
from counterpoint.methods.base import Method
from counterpoint.study.case import Range
from counterpoint.study.plan import Entry, Plan
from counterpoint.study.recipe import Recipe, plain

AS_GIVEN = "as-given"


def variations(
    method: Method[Any, Any], vary: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, list[Any]]:
    """Which values each setting is changed to, in turn.

    Without ``vary``, every setting that has others: switches are turned, choices take every other value, what can be left out is
    left out, and the settings the method names for tuning go to both ends of their range.

    Args:
        method: the method as given. vary: setting -> values, to choose by oneself.

    Raises:
        CounterpointError: an unknown setting, or nothing that could be changed.
    """
    cls = type(method)
    fields = groups.flat(method)
    if vary:
        for name in vary:
            if name not in fields:
                raise CounterpointError(f"{method.key} has no setting '{name}'; {nearest(name, fields)}")
        return {name: _others(plain(list(values)), fields[name]) for name, values in vary.items()}
    hints = groups.settings_of(cls)
    options = {
        n: _others(_candidates(hints[n].hint, value, method.search.get(n)), value)
        for n, value in fields.items()
    }
    options = {name: values for name, values in options.items() if values}
    if not options:
        raise CounterpointError(
            f"{method.key} has no switch or range to vary; name one: --vary learning_rate=0.01,0.1"
        )
    return options


def parts_of(method: Method[Any, Any], refused: dict[str, str] | None = None) -> dict[str, Method[Any, Any]]:
    """The method without each of its parts, by the part's name; those that its settings leave out already are not there.

    Args:
        refused: gets the parts that the method as given cannot do without, each with what the method says. None raises it.

    >>> from counterpoint.methods.dcl import DCL
    >>> {name: changed.symmetric for name, changed in parts_of(DCL(variant="dclw")).items()}
    {'neighbours as positives': True, 'one view as anchor': False}
    """
    cls, own = type(method), plain(groups.flat(method))
    changed: dict[str, Method[Any, Any]] = {}
    for name, settings in cls.ablations.items():
        if other := _taken(cls, {**own, **settings}, name, refused):
            changed[name] = other
    return {name: other for name, other in changed.items() if plain(groups.flat(other)) != own}


def plan_of(
    recipe: Recipe,
    method: Method[Any, Any],
    vary: Mapping[str, Sequence[Any]] | None,
    seeds: int,
    every: bool = False,
) -> Plan:
    """The study: the method as given, and one arm for each change.

    Args:
        vary: setting -> values. Without, the method's own table of its parts (``Method.ablations``).
        every: every setting that has others instead of that table, as for a method without one.

    A part without which the method refuses its other settings is no arm: the plan says so (``Plan.refused``), and the rest goes on.
    """
    entries = [Entry(name=AS_GIVEN, recipe=recipe, title="as given", baseline=True)]
    refused: dict[str, str] = {}
    if parts := {} if vary or every else parts_of(method, refused):
        for name, changed in parts.items():
            settings = plain(groups.flat(changed))
            entries.append(Entry(name=_label(name), recipe=replace(recipe, settings=settings), title=name))
    else:
        for name, values in variations(method, vary).items():
            for value in values:
                one = _taken(
                    type(method),
                    {**recipe.settings, name: value},
                    f"{name}={_label(value)}",
                    None if vary else refused,
                )
                if one is None:
                    continue
                label = f"{name}={_label(groups.value_of(one, name))}"
                settings = plain(groups.flat(one))
                entries.append(
                    Entry(name=label, recipe=replace(recipe, settings=settings), title=f"only {label}")
                )
    return Plan(
        what="ablate",
        entries=entries,
        seeds=seeds,
        baseline=AS_GIVEN,
        keep="none",
        title=method.key,
        refused={_label(name): reason for name, reason in refused.items()},
    )


def _taken(
    cls: type[Method[Any, Any]], settings: Mapping[str, Any], name: str, refused: dict[str, str] | None
) -> Method[Any, Any] | None:
    """The method with these settings; None where it refuses them, with what it says in ``refused`` under ``name``."""
    try:
        return cls.settings(**settings)
    except CounterpointError as error:
        if refused is None:
            raise
        refused[name] = str(error)
        return None


def _candidates(hint: Any, value: Any, searched: Range | None) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    candidates: list[Any] = [None] if type(None) in options and value is not None else []
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            candidates += typing.get_args(option)
    if searched is not None:
        candidates += list(searched)
    return candidates


def _others(values: Sequence[Any], own: Any) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if value != plain(own) and value != own and value not in distinct:
            distinct.append(value)
    return distinct


def _label(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(letter if letter.isalnum() or letter in "._-+," else "_" for letter in text)
