"""Options that commands share, and a method's settings as flags or from a file. No torch until a method is loaded."""

from __future__ import annotations

import functools
import inspect
import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from counterpoint.errors import CounterpointError, nearest
from counterpoint.study.options import RunOptions

if TYPE_CHECKING:
    from counterpoint.study.executors.cluster import Ray

F = TypeVar("F", bound=Callable[..., Any])


def complete_key(incomplete: str) -> list[tuple[str, str]]:
    """Methods that begin so, each with its line, for the shell."""
    from counterpoint.methods.catalog import rows

    return [(key, row.line) for key, row in rows().items() if row.ready and key.startswith(incomplete)]


def complete_data(incomplete: str) -> list[tuple[str, str]]:
    """Bundled data that begin so, and files, for the shell."""
    from counterpoint.tasks.task import bundled, kinds

    names = [(name, line) for kind in kinds() for name, line in bundled(kind).items()]
    start = Path(incomplete)
    folder = start if incomplete.endswith("/") else start.parent
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [(str(path) + "/" * path.is_dir(), "") for path in files if not path.name.startswith(".")]
    return [(name, line) for name, line in (*names, *paths) if name.startswith(incomplete)]


Data = Annotated[
    str | None,
    typer.Option(help="bundled name or path of the data", show_default=False, autocompletion=complete_data),
]
Model = Annotated[
    str | None,
    typer.Option(help="reference name or model folder; default: the kind's own", show_default=False),
]
Out = Annotated[
    Path | None, typer.Option(help="folder for everything the command writes", show_default=False)
]


def flag(name: str) -> Any:
    """The typer option of a run option, by its field."""
    (declared,) = (each for each in fields(RunOptions) if each.name == name)
    default, text = declared.default, declared.metadata["help"]
    if _repeated(name):
        metavar = "NAME=VALUE" if _mapping(name) else None
        return typer.Option(f"--{_parameter(name).replace('_', '-')}", metavar=metavar, help=text)
    return typer.Option(help=text, show_default=str(default) if isinstance(default, int | str) else False)


@functools.cache
def _hints() -> dict[str, Any]:
    """Types of the run options, evaluated once."""
    return typing.get_type_hints(RunOptions)


def _mapping(name: str) -> bool:
    return typing.get_origin(_hints()[name]) is Mapping


def _repeated(name: str) -> bool:
    return _mapping(name) or typing.get_origin(_hints()[name]) is tuple


def _parameter(name: str) -> str:
    """A command's parameter for a run option: ``data_options`` are given one by one, each as ``--data-option``."""
    return name.removesuffix("s") if _repeated(name) else name


def _shown(name: str) -> Any:
    """The annotation that typer reads: a flag that is not given is None, so that a file's value may stand."""
    hint = _hints()[name]
    if _repeated(name):
        hint = list[str]
    elif typing.get_origin(hint) is typing.Literal:
        hint = str
    return Annotated[hint | None, flag(name)]


Kind = Annotated[str | None, flag("kind")]
DataOption = Annotated[list[str] | None, flag("data_options")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a method's setting; may be repeated")
]
AsJson = Annotated[bool, typer.Option("--json", help="print the same as JSON")]
Jobs = Annotated[int, typer.Option(help="runs at once, each in a process of its own")]
Executor = Annotated[str, typer.Option(help="where the runs go: local, or ray (a Ray cluster)")]
Address = Annotated[
    str | None,
    typer.Option(help="of the Ray cluster; auto is this machine's, none starts one here", show_default=False),
]
GpusPerRun = Annotated[float, typer.Option(help="GPUs that Ray gives each run")]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML or YAML file with these options and a table 'settings'", show_default=False),
]


class Given(dict[str, Any]):
    """Run options by name, as a command line has them: those that are not given are left out."""

    def over(self, file: Mapping[str, Any]) -> dict[str, Any]:
        """These, and a --config file's where they are not given; tables, such as data_options, are joined."""
        merged = {name: file[name] for name in RunOptions.names() if name in file}
        for name, value in self.items():
            merged[name] = {**(merged.get(name) or {}), **value} if _mapping(name) else value
        return {name: tuple(value) if isinstance(value, list) else value for name, value in merged.items()}


NONE = Given()


def of_context(
    context: typer.Context, cls: type[Any], settings: Sequence[str] | None, vary: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """A method's settings from the flags that a command does not know and from --set, and the choices of --vary."""
    own = [parameter.name for parameter in context.command.params if parameter.name]
    chosen = typed(cls, {**flags(context.args), **pairs(settings, "--set")}, own)
    varied: dict[str, list[Any]] = {}
    for name, text in pairs(vary, "--vary").items():
        values = [typed(cls, {name: part}) for part in text.split(",")]
        varied[next(iter(values[0]))] = [value for each in values for value in each.values()]
    return chosen, varied


def placed(jobs: int, executor: str, address: str | None, gpus: float) -> int | Ray:
    """What ``jobs`` of the Python API is for these options.

    Raises:
        CounterpointError: an unknown executor, or options of a cluster without one.
    """
    if executor == "ray":
        from counterpoint.study.executors.cluster import Ray

        return Ray(address=address, gpus=gpus, at_once=jobs if jobs > 1 else None)
    if executor != "local":
        raise CounterpointError(
            f"--executor {executor}: expected local or ray; {nearest(executor, ('local', 'ray'))}"
        )
    if address is not None or gpus:
        raise CounterpointError("--address and --gpus-per-run are of a Ray cluster: add --executor ray")
    return jobs


def spread(*, without: Sequence[str] = ()) -> Callable[[F], F]:
    """Give a command the flags of all run options in the position of its parameter that is annotated ``Given``.

    typer makes one option of one parameter, so what it is shown has them all; they are put together for the function.
    """
    names = [name for name in RunOptions.names() if name not in without]

    def wrap(function: F) -> F:
        hints = typing.get_type_hints(function, include_extras=True)
        shown: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            if hints[parameter.name] is not Given:
                shown.append(parameter.replace(annotation=hints[parameter.name]))
                continue
            gathered_in = parameter.name
            shown += [
                parameter.replace(name=_parameter(name), default=None, annotation=_shown(name))
                for name in names
            ]

        @functools.wraps(function)
        def gathered(**values: Any) -> Any:
            given = Given()
            for name in names:
                value = values.pop(_parameter(name))
                if _mapping(name):
                    value = pairs(value, f"--{_parameter(name).replace('_', '-')}")
                if value is not None and not (_repeated(name) and not value):
                    given[name] = value
            return function(**values, **{gathered_in: given})

        gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        gathered.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return gathered  # type: ignore[return-value]

    return wrap


FILE_KEYS = ("method", "model", "data", "out", *RunOptions.names(), "settings")


def pairs(given: Iterable[str] | None, what: str) -> dict[str, str]:
    """Turn ``["a=1"]`` into ``{"a": "1"}``.

    >>> pairs(["size=28", "name=a=b"], "--data-option")
    {'size': '28', 'name': 'a=b'}
    """
    result = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CounterpointError(f"{what} {text}: write it as NAME=VALUE")
        result[name.replace("-", "_")] = value
    return result


def flags(tokens: Sequence[str]) -> dict[str, str]:
    """Turn the flags that a command did not know into settings: ``--a 1``, ``--a=1``, ``--a`` and ``--no-a``.

    >>> flags(["--temperature", "0.2", "--weighted", "--no-sharp", "--shift", "-1"])
    {'temperature': '0.2', 'weighted': 'true', 'sharp': 'false', 'shift': '-1'}
    """
    result: dict[str, str] = {}
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
        result[name.replace("-", "_")] = value
    return result


def typed(cls: type, given: Mapping[str, str], option_names: Iterable[str] = ()) -> dict[str, Any]:
    """Read settings given as text by the types of a method's fields; what text cannot say is left to the method.

    Raises:
        CounterpointError: a name that is neither a setting nor an option of the command.
    """
    from counterpoint.methods import groups

    options = tuple(name.replace("-", "_") for name in option_names)
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
            content: Any = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            import yaml

            content = yaml.safe_load(text) or {}
        else:
            raise CounterpointError(f"{path}: settings are read from .toml, .yaml or .yml")
    except CounterpointError:
        raise
    except Exception as error:  # each parser has errors of its own
        raise CounterpointError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise CounterpointError(f"{path} holds a {type(content).__name__}; expected names with values")
    for name in content:
        if name not in FILE_KEYS:
            hint = nearest(str(name), FILE_KEYS)
            raise CounterpointError(
                f"{path}: unknown name '{name}'; {hint} (a method's settings stand in the table 'settings')"
            )
    for name in ("settings", "data_options", "model_options"):
        if not isinstance(content.get(name, {}), dict):
            raise CounterpointError(
                f"{path}: '{name}' is a {type(content[name]).__name__}; expected a table of names with values"
            )
    return content


def required(value: Any, option: str, example: str) -> Any:
    """Return a value, or say which option is missing and show a call that works."""
    if value is None:
        raise CounterpointError(f"{option} is missing; for example: {example}")
    return value
