"""Reads catalog.toml and finds a method's class. Reading loads no torch; only ``load`` imports a method's file."""

from __future__ import annotations

import importlib
import importlib.util
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError, nearest

if TYPE_CHECKING:
    from counterpoint.methods.base import Method


@dataclass(frozen=True)
class Row:
    """One row of the catalog: what a method is, without loading it."""

    key: str
    title: str
    paper: str
    year: int
    family: str
    kind: str
    line: str
    needs: str = ""
    baseline: bool = False

    @property
    def module(self) -> str:
        """Dotted name of the file that holds the method."""
        folder = "counterpoint.methods.baselines." if self.baseline else "counterpoint.methods."
        return folder + self.key.replace("-", "_")

    @property
    def ready(self) -> bool:
        """Whether the method's file exists; a row without one is planned."""
        return importlib.util.find_spec(self.module) is not None


@cache
def rows() -> dict[str, Row]:
    """All rows by key: the published methods first, then the baselines they are compared with.

    >>> sum(not row.baseline for row in rows().values())
    39
    """
    tables = tomllib.loads(files("counterpoint.methods").joinpath("catalog.toml").read_text(encoding="utf-8"))
    found = {key: Row(key=key, **row) for key, row in tables["methods"].items()}
    found |= {key: Row(key=key, baseline=True, **row) for key, row in tables["baselines"].items()}
    return found


def row(key: str) -> Row:
    """Return the row of a key, or teach the nearest one.

    >>> row("dlc")
    Traceback (most recent call last):
    counterpoint.errors.CounterpointError: there is no method 'dlc'; did you mean 'dcl'? (counterpoint list shows all)
    """
    try:
        return rows()[key]
    except KeyError:
        hint = nearest(key, rows())
        raise CounterpointError(f"there is no method '{key}'; {hint} (counterpoint list shows all)") from None


def load(key: str) -> type[Method[Any, Any]]:
    """Import a method's file and return its class, the one whose ``key`` is the row's."""
    from counterpoint.methods.base import Method

    found = row(key)
    if not found.ready:
        raise CounterpointError(f"'{key}' is planned and not yet there; counterpoint list shows which are")
    module = importlib.import_module(found.module)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Method) and getattr(value, "key", None) == key:
            return value
    raise CounterpointError(f"{found.module} holds no Method with key '{key}'")


def markdown() -> str:
    """The catalog as the README's table, one line a method; those not yet there are marked."""
    lines = ["| key | what it is for | family | data | paper |", "|---|---|---|---|---|"]
    for found in rows().values():
        if found.baseline:
            continue
        name = f"[`{found.key}`](docs/methods/{found.key}.md)" if found.ready else f"`{found.key}` (planned)"
        paper = f"[{found.paper}](https://arxiv.org/abs/{found.paper}), {found.year}"
        lines.append(f"| {name} | {found.line} | {found.family} | {found.kind} | {paper} |")
    return "\n".join(lines)


if __name__ == "__main__":
    import re
    import sys
    from pathlib import Path

    page = Path(sys.argv[1])
    inside = f"<!-- methods -->\n{markdown()}\n<!-- /methods -->"
    page.write_text(
        re.sub(r"<!-- methods -->.*<!-- /methods -->", lambda _: inside, page.read_text(), flags=re.S)
    )
