"""Tables whose figures stay whole on a narrow terminal, the same as JSON, and settings in plain words. Loads no torch."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from counterpoint.study.files import finite

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from counterpoint.study.store import Result

PLAIN = {int: "whole number", float: "number", str: "text", bool: "yes or no", type(None): "none"}

COMMON = {
    "batch_size": "rows per step, over all processes.",
    "learning_rate": "of the optimiser.",
    "weight_decay": "of the optimiser.",
    "epochs": "passes over the training rows when the run has no budget.",
    "beta": "strength of the pull towards the reference model.",
    "temperature": "of sampling.",
    "top_p": "sample from the smallest set of tokens that holds this much probability.",
    "max_new_tokens": "longest sampled answer.",
    "sft_epochs": "passes over the solved problems at the start.",
    "sft_learning_rate": "of the optimiser at the start, on the solved problems.",
    "lora_rank": "rank of the adapters that are trained; 0 trains every weight.",
    "loss_temperature": "of the divergence.",
    "discount": "of future rewards.",
}
"""What settings do that mean the same in every method, for those that leave it unsaid."""


def emit(value: Any) -> None:
    """Print as JSON; figures that are no numbers are null."""
    typer.echo(json.dumps(finite(value), indent=1, default=str))


def result_json(result: Result) -> dict[str, Any]:
    """A run's result as plain data, with its folder."""
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


def hanging(screen: Console, text: Text | str, indent: int = 2) -> None:
    """Print a line behind ``indent`` blanks; where it is wider than the screen it goes on two columns further right.

    ``text``: markup, or a ``Text``.
    """
    from rich.text import Text

    whole = Text.from_markup(text) if isinstance(text, str) else text
    for number, line in enumerate(whole.wrap(screen, max(screen.width - indent - 2, 20))):
        line.rstrip()
        screen.print(Text(" " * (indent + 2 * (number > 0))), line, sep="", soft_wrap=True)


def show_table(screen: Console, table: Table) -> None:
    """Print a table, or where its figures would be cut, every row as lines of ``column: value``."""
    from rich.text import Text

    needed = 0
    for column in table.columns:
        column.no_wrap = column.no_wrap or column.justify == "right"
        texts = [Text.from_markup(str(cell)) for cell in (column.header, *column.cells)]
        words = [[text] if column.no_wrap else text.split() or [text] for text in texts]
        needed += 2 + max(word.cell_len for each in words for word in each)
    if needed - 2 <= screen.width:
        screen.print(table)
        return
    if table.title is not None:
        screen.print(table.title, style=table.title_style or "")
    cells = [list(column.cells) for column in table.columns]
    for row in range(table.row_count):
        screen.print(cells[0][row])
        for column, values in zip(table.columns[1:], cells[1:]):
            if str(values[row]):
                screen.print(f"  [dim]{column.header}[/]  {values[row]}", soft_wrap=True)


def described(cls: type) -> dict[str, str]:
    """What every setting of a method does, by its dotted name, from the docstrings of the class and its groups.

    >>> class Some:
    ...     '''A method.
    ...
    ...     Attributes:
    ...         one: of the first kind. two: the rest.
    ...     '''
    >>> described(Some)
    {'one': 'of the first kind.', 'two': 'the rest.'}
    """
    from dataclasses import fields, is_dataclass

    from counterpoint.methods.groups import groups_of
    from counterpoint.tasks.documented import docstring_items

    names = {field.name for field in fields(cls)} if is_dataclass(cls) else None
    texts: dict[str, str] = {}
    groups = groups_of(cls) if is_dataclass(cls) else {}
    for each in reversed(cls.__mro__):  # a group's own words replace those of what it is derived from
        block = (each.__doc__ or "").partition("Attributes:")[2].split("\n\n")[0]
        for name, text in docstring_items(block).items():
            if names is None or (name in names and name not in groups):
                texts[name] = text
    samples = {"max_new_tokens", "top_p"} & (names or set())
    for name in names or ():
        if name == "temperature" and not samples:
            continue  # what it divides is the method's to say
        if name not in groups and name in COMMON:
            texts.setdefault(name, COMMON[name])
    for group, inner in groups.items():
        texts |= {f"{group}.{name}": text for name, text in described(inner).items()}
    return texts


def in_words(hint: Any) -> str:
    """A setting's type in plain words.

    >>> in_words(float | None), in_words(typing.Literal["a", "b"]), in_words(tuple[float, ...])
    ('number or none', 'a or b', 'list of number')
    """
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is typing.Literal:
        return " or ".join(map(str, inside))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(in_words(each) for each in inside))
    if origin in (list, tuple, set) or hint in (list, tuple):
        kinds = dict.fromkeys(in_words(each) for each in inside if each is not Ellipsis)
        return "list of " + (" or ".join(kinds) or "values")
    if origin is dict or hint is dict:
        return "names with values"
    return str(getattr(hint, "__name__", hint)).replace("typing.", "").lower()


def span(searched: Any) -> str:
    """A tuning range in words.

    >>> span((0.001, 0.1)), span([1, 2]), span(None)
    ('0.001 to 0.1', '1, 2', '')
    """
    if searched is None:
        return ""
    if isinstance(searched, Mapping):
        return str(dict(searched))
    if isinstance(searched, list):
        return ", ".join(map(str, searched))
    if isinstance(searched, tuple):
        return " to ".join(f"{value:g}" for value in searched)
    return str(searched)
