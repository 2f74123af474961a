"""Options that commands share, and a method's settings as flags or from a file. No torch until a method is loaded."""

from __future__ import annotations

import functools
import inspect
import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from counterpoint.errors import CounterpointError, nearest

F = TypeVar("F", bound=Callable[..., Any])

Data = Annotated[str | None, typer.Option(help="bundled name or path of the data", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option(help="reference name or model folder; default: the kind's own", show_default=False),
]
Out = Annotated[
    Path | None, typer.Option(help="folder for everything the command writes", show_default=False)
]
Kind = Annotated[
    str | None, typer.Option(help="kind of data, where it is not the method's", show_default=False)
]
DataOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="option of the data's loader; may be repeated")
]
Steps = Annotated[int | None, typer.Option(help="budget in optimiser steps", show_default=False)]
Examples = Annotated[int | None, typer.Option(help="budget in training examples", show_default=False)]
Tokens = Annotated[int | None, typer.Option(help="budget in tokens", show_default=False)]
Seconds = Annotated[float | None, typer.Option(help="budget in seconds", show_default=False)]
Precision = Annotated[str | None, typer.Option(help="no (fp32), bf16 or fp16", show_default=False)]
MicroBatch = Annotated[
    int | None, typer.Option(help="rows held in memory at once; the result is the same", show_default=False)
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a method's setting; may be repeated")
]
AsJson = Annotated[bool, typer.Option("--json", help="print the same as JSON")]
Jobs = Annotated[int, typer.Option(help="runs at once, each in a process of its own")]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML or YAML file with these options and a table 'settings'", show_default=False),
]


@dataclass(frozen=True)
class Recipe:
    """What commands that train many times pass on to every run."""

    steps: Steps = None
    examples: Examples = None
    tokens: Tokens = None
    seconds: Seconds = None
    precision: Precision = None
    micro_batch_size: MicroBatch = None
    kind: Kind = None
    data_option: DataOption = None

    def given(self) -> dict[str, Any]:
        """As ``api.recipe`` takes them."""
        values = dict(vars(self))
        options = pairs(values.pop("data_option"), "--data-option")
        return {**values, "precision": self.precision or "no", "data_options": options}


NONE = Recipe()


def spread(function: F) -> F:
    """Give a command the options of each parameter that is a dataclass of options, in that parameter's place.

    typer makes one option of one parameter, so what it is shown has them all; they are put together for ``function``.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    shown: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if not is_dataclass(hint):
            shown.append(parameter.replace(annotation=hint))
            continue
        types_ = typing.get_type_hints(hint, include_extras=True)
        shown += [
            parameter.replace(name=field.name, default=field.default, annotation=types_[field.name])
            for field in fields(hint)
        ]

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        for name, hint in hints.items():
            if isinstance(hint, type) and is_dataclass(hint):
                given[name] = hint(**{field.name: given.pop(field.name) for field in fields(hint)})
        return function(**given)

    gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    gathered.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return gathered  # type: ignore[return-value]


FILE_KEYS = (
    "method", "model", "data", "data_options", "kind", "out", "seed", "steps", "examples", "tokens", "seconds", "precision",
    "micro_batch_size", "settings",
)  # fmt: skip


def pairs(given: Iterable[str] | None, what: str) -> dict[str, str]:
    """Turn ``["a=1"]`` into ``{"a": "1"}``.

    >>> pairs(["size=28", "name=a=b"], "--data-option")
    {'size': '28', 'name': 'a=b'}
    """
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CounterpointError(f"{what} {text}: write it as NAME=VALUE")
        found[name.replace("-", "_")] = value
    return found


def flags(tokens: Sequence[str]) -> dict[str, str]:
    """Turn the flags that a command did not know into settings: ``--a 1``, ``--a=1``, ``--a`` and ``--no-a``.

    >>> flags(["--temperature", "0.2", "--weighted", "--no-sharp", "--shift", "-1"])
    {'temperature': '0.2', 'weighted': 'true', 'sharp': 'false', 'shift': '-1'}
    """
    found: dict[str, str] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise CounterpointError(f"'{token}' is not understood here; a setting is given as --name value")
        name, equals, value = token[2:].partition("=")
        if not equals:
            if rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            elif name.startswith("no-"):
                name, value = name[3:], "false"
            else:
                value = "true"
        found[name.replace("-", "_")] = value
    return found


def typed(cls: type, given: Mapping[str, str], known_options: Iterable[str] = ()) -> dict[str, Any]:
    """Read settings given as text by the types of a method's fields; what text cannot say is left to the method.

    Raises:
        CounterpointError: a name that is neither a setting nor an option of the command.
    """
    from counterpoint.methods import groups

    options = tuple(name.replace("-", "_") for name in known_options)
    hints = groups.settings_of(cls)
    return {
        name: _read(text, hints[name].hint)
        for name, text in groups.named(cls, given, options=options).items()
    }


def _read(text: str, hint: Any) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if type(None) in options and text.lower() in ("none", "null"):
        return None
    shapes = {typing.get_origin(option) or option for option in options}
    if shapes & {tuple, list, dict, set}:
        if text[:1] in "[{":
            try:
                return json.loads(text)
            except ValueError:
                return text
        return [part.strip() for part in text.split(",") if part.strip()]
    literals = [
        value
        for option in options
        if typing.get_origin(option) is typing.Literal
        for value in typing.get_args(option)
    ]
    for value in literals:
        if str(value) == text:
            return value
    return text


def read_config(path: Path | None) -> dict[str, Any]:
    """Read a TOML or YAML file of options, strictly.

    Raises:
        CounterpointError: no such file, no such format, a syntax error with its line, or an unknown name.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise CounterpointError(f"there is no file {path} to read settings from")
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".toml":
            found: Any = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            import yaml

            found = yaml.safe_load(text) or {}
        else:
            raise CounterpointError(f"{path}: settings are read from .toml, .yaml or .yml")
    except CounterpointError:
        raise
    except Exception as error:  # each parser has errors of its own
        raise CounterpointError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise CounterpointError(f"{path} holds a {type(found).__name__}; expected names with values")
    for name in found:
        if name not in FILE_KEYS:
            hint = nearest(str(name), FILE_KEYS)
            raise CounterpointError(
                f"{path}: unknown name '{name}'; {hint} (a method's settings stand in the table 'settings')"
            )
    for name in ("settings", "data_options"):
        if not isinstance(found.get(name, {}), dict):
            raise CounterpointError(
                f"{path}: '{name}' is a {type(found[name]).__name__}; expected a table of names with values"
            )
    return found


def required(value: Any, option: str, example: str) -> Any:
    """Return a value, or say which option is missing and show a call that works."""
    if value is None:
        raise CounterpointError(f"{option} is missing; for example: {example}")
    return value
