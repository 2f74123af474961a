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


def parts_of(method: Method[Any, Any]) -> dict[str, Method[Any, Any]]:
    """The method without each of its parts, by the part's name; those that its settings leave out already are not there.

    >>> from counterpoint.methods.dcl import DCL
    >>> {name: changed.symmetric for name, changed in parts_of(DCL(variant="dclw")).items()}
    {'neighbours as positives': True, 'one view as anchor': False}
    """
    cls, own = type(method), plain(groups.flat(method))
    changed = {name: cls.settings(**{**own, **settings}) for name, settings in cls.ablations.items()}
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
    """
    entries = [Entry(name=AS_GIVEN, recipe=recipe, title="as given", baseline=True)]
    if parts := {} if vary or every else parts_of(method):
        for name, changed in parts.items():
            settings = plain(groups.flat(changed))
            entries.append(Entry(name=_label(name), recipe=replace(recipe, settings=settings), title=name))
    else:
        for name, values in variations(method, vary).items():
            for value in values:
                changed = type(method).settings(**{**recipe.settings, name: value})
                label = f"{name}={_label(groups.value_of(changed, name))}"
                settings = plain(groups.flat(changed))
                entries.append(
                    Entry(name=label, recipe=replace(recipe, settings=settings), title=f"only {label}")
                )
    return Plan(what="ablate", entries=entries, seeds=seeds, baseline=AS_GIVEN, keep="none", title=method.key)


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
