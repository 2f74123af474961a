"""A method's page holds: its snippet and commands run as printed, its table names every setting with its default."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner

from counterpoint.methods import groups
from counterpoint.methods.catalog import load

PAGES = Path(__file__).parents[1] / "docs" / "methods"
Changes = Mapping[str, str]


def page(key: str) -> str:
    """The text of the method's page."""
    return (PAGES / f"{key}.md").read_text(encoding="utf-8")


def printed(key: str, language: str, changes: Changes) -> str:
    """The page's one block of a language; ``changes`` make what it runs smaller (epochs, models)."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", page(key), re.S)
    for long, short in changes.items():
        block = block.replace(long, short)
    return block


def run_snippet(key: str, changes: Changes = {}) -> None:
    """Execute the Python snippet."""
    exec(compile(printed(key, "python", changes), f"{key}.md", "exec"), {})


def run_commands(key: str, changes: Changes = {}) -> None:
    """Run every command of the shell block; each must succeed."""
    from counterpoint.cli.main import app

    lines = printed(key, "sh", {"\\\n": " ", **changes}).splitlines()
    assert lines
    for line in lines:
        program, *given = shlex.split(line)
        assert program == "counterpoint", line
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 0, (line, result.output, result.exception)


def check_settings(key: str, otherwise: Changes = {}) -> None:
    """Every setting stands in a table beside its default, or beside what ``otherwise`` says the page shows for it."""
    shown = defaults(key)
    for name, value in groups.flat(load(key).settings()).items():
        group = name.partition(".")[0]
        if (
            name not in shown and group in shown
        ):  # a row for the whole group shows its first setting's default
            name, value = group, next(iter(vars(getattr(load(key).settings(), group)).values()))
        assert name in shown, f"{name} is not in the table"
        wanted = otherwise.get(name)
        assert any(text == wanted if wanted else says(text, value) for text in shown[name]), (
            name,
            shown[name],
        )


def defaults(key: str) -> dict[str, list[str]]:
    """Second columns by setting. A row may name several settings, with their defaults in the same order."""
    found: dict[str, list[str]] = {}
    for line in page(key).splitlines():
        row = re.match(r"\| (`[\w.]+`(?:, `[\w.]+`)*) \|([^|]*)\|", line)
        if row is not None:
            names = row[1].replace("`", "").split(", ")
            values = row[2].strip().split(", ") if len(names) > 1 else [row[2].strip()]
            if len(names) == len(values):  # else it is a row of another table, whose second column explains
                for name, value in zip(names, values, strict=True):
                    found.setdefault(name, []).append(value)
    return found


def says(text: str, value: object) -> bool:
    """Whether a cell shows a value: a number in any notation, no text as "none" or nothing; what stands behind it in brackets aside."""
    text = text.split(" (")[0].strip("`")
    if isinstance(value, float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text in ("", "none") if value == "" else text == str(value)
