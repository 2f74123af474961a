"""Data options of every kind, as they are typed and with what they do, read from the loaders' sources. Imports no loader."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from counterpoint.errors import CounterpointError
from counterpoint.tasks.task import described

PACKAGE = Path(__file__).parents[1]
EXAMPLES = {"int": "N", "float": "X", "bool": "true", "str": "NAME"}
"""What stands for a value whose default says nothing, by its type."""


@dataclass(frozen=True)
class DataOption:
    """One option of a loader.

    Attributes:
        name: of the loader's parameter.
        typed: as it stands on a command line, "--data-option size=N"; the value is the default where there is one.
        type: of its value, as annotated. what: what it does, a sentence.
    """

    name: str
    typed: str
    type: str
    what: str


def docstring_items(block: str) -> dict[str, str]:
    """Items "a, b: text" of a docstring's block, at the start of a line or after a sentence within one.

    >>> docstring_items("one, two: of the first kind,\\n    and more. three: the rest.")
    {'one': 'of the first kind, and more.', 'two': 'of the first kind, and more.', 'three': 'the rest.'}
    """
    items: dict[str, str] = {}
    starts = list(re.finditer(r"(?:^\s*|\.\s+)([a-z_][\w.]*(?:, [a-z_][\w.]*)*): ", block, re.MULTILINE))
    for start, end in zip(starts, [*(each.start() for each in starts[1:]), len(block)]):
        text = " ".join(block[start.end() : end].replace("``", "").split())
        for name in start.group(1).split(", "):
            items[name] = text if text.endswith(".") else text + "."
    return items


def data_options(kind: str) -> dict[str, list[DataOption]]:
    """Options of a kind's loaders: under "" those of a person's own data, under a bundled name what only that has.

    Raises:
        CounterpointError: there is no such kind.

    >>> next(option.typed for option in data_options("images")[""] if option.name == "size")
    '--data-option size=N'
    """
    of_loaders: dict[str, list[DataOption]] = {}
    for name, loader in described(kind).loaders.items():
        own = {option.name for option in of_loaders.get("", ())}
        options = [option for option in _options(loader) if option.name not in own]
        if options:
            of_loaders[name] = options
    return of_loaders


def option_lines(kinds: Iterable[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each kind, and each bundled set with options of its own: a title, and pairs of an option as typed and what it does."""
    lines = []
    for kind in kinds:
        for name, options in data_options(kind).items():
            title = f"{kind}, {name}" if name else kind
            lines.append((title, [(option.typed, option.what) for option in options]))
    return lines


def _options(loader: str) -> list[DataOption]:
    module, _, name = loader.partition(":")
    path = PACKAGE.parent / (module.replace(".", "/") + ".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    function = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None)
    if function is None:
        raise CounterpointError(f"{module} has no function {name}; see 'loaders' of tasks.descriptions")
    block = re.split(r"\n\n|\Z", (ast.get_docstring(function) or "").partition("Args:\n")[2])[0]
    texts = docstring_items(block)
    arguments = function.args
    plain = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    given = [*zip(plain, arguments.defaults), *zip(arguments.kwonlyargs, arguments.kw_defaults)]
    return [
        DataOption(
            argument.arg,
            f"--data-option {argument.arg}={_value(argument, default)}",
            ast.unparse(argument.annotation) if argument.annotation else "",
            texts.get(argument.arg, ""),
        )
        for argument, default in given
    ]


def _value(argument: ast.arg, default: ast.expr | None) -> str:
    """A value as it may be typed: the default, or what stands for one."""
    value = getattr(default, "value", None)
    if isinstance(value, bool):
        return "true" if not value else "false"
    if value not in (None, ""):
        return str(value)
    first = re.split(r"\W", ast.unparse(argument.annotation))[0] if argument.annotation else "str"
    return EXAMPLES.get(first, first if isinstance(default, ast.Name) else "NAME")
