"""Settings in groups: a field whose default is made by a dataclass is a group, and its own fields are dotted names.

``contrast: Contrast = field(default_factory=Contrast)`` has settings ``contrast.temperature``, on a command line
``--contrast.temperature`` or ``--contrast-temperature``, in a file a table ``[settings.contrast]``. Wherever settings are
stored, compared or tuned they are one flat mapping of such names.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from counterpoint.errors import CounterpointError, nearest


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        name: dotted where it stands in a group.
        hint: its type, resolved where that is possible. written: as it is written in the class.
        default: the paper's value, or ours (``methods.ours``).
    """

    name: str
    hint: Any
    written: str
    default: Any


def is_group(field: dataclasses.Field[Any]) -> bool:
    """Whether a field holds a group of settings."""
    return isinstance(field.default_factory, type) and dataclasses.is_dataclass(field.default_factory)


def groups_of(cls: type) -> dict[str, type]:
    """The groups of a dataclass by name."""
    return {
        field.name: typing.cast(type, field.default_factory)
        for field in dataclasses.fields(cls)
        if is_group(field)
    }


def settings_of(cls: type) -> dict[str, Setting]:
    """Every setting of a dataclass by its dotted name, in order of writing.

    >>> @dataclasses.dataclass
    ... class Contrast:
    ...     temperature: float = 0.1
    >>> @dataclasses.dataclass
    ... class Some:
    ...     epochs: int = 3
    ...     contrast: Contrast = dataclasses.field(default_factory=Contrast)
    >>> list(settings_of(Some))
    ['epochs', 'contrast.temperature']
    """
    return {each.name: each for each in _walk(cls, "")}


def _walk(cls: type, prefix: str) -> Iterator[Setting]:
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # a class of a person's own, with types that only a checker imports
        hints = {}
    for field in dataclasses.fields(cls):
        if is_group(field):
            yield from _walk(typing.cast(type, field.default_factory), f"{prefix}{field.name}.")
            continue
        made = field.default_factory
        default = made() if made is not dataclasses.MISSING else field.default
        plain = isinstance(field.type, type) and not typing.get_args(field.type)
        written = typing.cast(type, field.type).__name__ if plain else str(field.type).replace("typing.", "")
        yield Setting(prefix + field.name, hints.get(field.name, str), written, default)


def flat(settings: Any) -> dict[str, Any]:
    """Every setting of a dataclass object by its dotted name; values that are dataclasses themselves become mappings."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if is_group(field):
            result |= {f"{field.name}.{name}": each for name, each in flat(value).items()}
        else:
            whole = dataclasses.is_dataclass(value) and not isinstance(value, type)
            result[field.name] = dataclasses.asdict(value) if whole else value
    return result


def value_of(settings: Any, name: str) -> Any:
    """A setting's value by its dotted name."""
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def named(cls: type, given: Mapping[str, Any], *, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Settings by their dotted names, however they were given: dotted, hyphenated, or a group as a mapping.

    A group that is given one plain value takes it for its first setting: ``sampler=server`` is ``sampler.kind=server``.

    Args:
        cls: the method. given: names with values.
        options: other names that a reader may have meant, for the hint.

    Raises:
        CounterpointError: an unknown name, with the nearest one, or with the new name of a setting that moved.
    """
    own = settings_of(cls)
    groups = groups_of(cls)
    joined = {name.replace(".", "_"): name for name in own if "." in name}
    key, moved = getattr(cls, "key", cls.__name__), getattr(cls, "moved", {})
    result: dict[str, Any] = {}
    for name, value in given.items():
        plain = name.replace("-", "_")
        if plain in groups and not dataclasses.is_dataclass(value):
            inner = value if isinstance(value, Mapping) else {_first(groups[plain]): value}
            result |= named(cls, {f"{plain}.{each}": v for each, v in inner.items()}, options=options)
        elif plain in groups:
            result |= {f"{plain}.{each}": v for each, v in flat(value).items()}
        elif plain in own or plain in joined:
            result[plain if plain in own else joined[plain]] = value
        elif plain in moved:
            raise CounterpointError(
                f"{key}: '{name}' is now '{moved[plain]}'; write --{moved[plain]} VALUE, or in a file or from Python "
                f"'{moved[plain]}'"
            )
        else:
            hint = nearest(plain, [*own, *groups, *options])
            raise CounterpointError(
                f"{key} has no setting '{name}'; {hint} (counterpoint show {key} lists them)"
            )
    return result


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested mappings, as a class is built from them.

    >>> nested({"a": 1, "b.c": 2})
    {'a': 1, 'b': {'c': 2}}
    """
    result: dict[str, Any] = {}
    for name, value in given.items():
        group, dot, rest = name.partition(".")
        if dot:
            result.setdefault(group, {})[rest] = value
        else:
            result[name] = value
    return result


def _first(group: type) -> str:
    return dataclasses.fields(group)[0].name
