"""Reads catalog.toml and finds a method's class. Reading loads no torch; only ``load`` imports a method's file."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import CounterpointError, nearest

if TYPE_CHECKING:
    from counterpoint.methods.base import Method


@dataclass(frozen=True)
class Row:
    """One row of the catalog: what a method is, without loading it.

    Attributes:
        vectors: names of the conformance files (tests/vectors/files) that the method's equations are compared with.
        against: where the numbers in these files come from.
        without: what a ready method lacks of the definition of done (tests/test_complete.py), each with the reason.
    """

    key: str
    title: str
    paper: str
    year: int
    family: str
    kind: str
    line: str
    needs: str = ""
    baseline: bool = False
    vectors: tuple[str, ...] = ()
    against: str = ""
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """Dotted name of the file that holds the method."""
        folder = "counterpoint.methods.baselines." if self.baseline else "counterpoint.methods."
        return folder + self.key.replace("-", "_")

    @property
    def ready(self) -> bool:
        """Whether the method's file exists; a row without one is planned."""
        return importlib.util.find_spec(self.module) is not None


def _row(key: str, table: dict[str, Any], baseline: bool = False) -> Row:
    return Row(key=key, baseline=baseline, **{**table, "vectors": tuple(table.get("vectors", ()))})


@cache
def rows() -> dict[str, Row]:
    """All rows by key: the published methods first, then the baselines they are compared with.

    >>> sum(not row.baseline for row in rows().values())
    39
    """
    tables = tomllib.loads(files("counterpoint.methods").joinpath("catalog.toml").read_text(encoding="utf-8"))
    result = {key: _row(key, table) for key, table in tables["methods"].items()}
    return result | {key: _row(key, table, baseline=True) for key, table in tables["baselines"].items()}


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

    chosen = row(key)
    if not chosen.ready:
        raise CounterpointError(f"'{key}' is planned and not yet there; counterpoint list shows which are")
    module = importlib.import_module(chosen.module)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Method) and getattr(value, "key", None) == key:
            return value
    raise CounterpointError(f"{chosen.module} holds no Method with key '{key}'")


def ready() -> dict[str, Row]:
    """The rows of methods and baselines that run today, by key."""
    return {key: row for key, row in rows().items() if row.ready}


def markdown_short() -> str:
    """The methods that run today as the README's table, one line a kind of data."""
    kinds: dict[str, list[str]] = {}
    for key, row in ready().items():
        if not row.baseline:
            kinds.setdefault(row.kind, []).append(f"[`{key}`](docs/methods/{key}.md)")
    lines = [f"| {kind} | {', '.join(links)} |" for kind, links in kinds.items()]
    return "\n".join(["| data | methods |", "|---|---|", *lines])


def markdown() -> str:
    """The catalog as the tables of docs/methods/index.md: methods that run, baselines, planned methods."""
    head = ["| key | what it is for | family | data | paper | equal to |", "|---|---|---|---|---|---|"]
    tables: dict[str, list[str]] = {"Methods": [], "Baselines": [], "Planned": []}
    for row in rows().values():
        paper = f"[{row.paper}](https://arxiv.org/abs/{row.paper}), {row.year}"
        cells = f"{row.line} | {row.family} | {row.kind} | {paper}"
        if row.ready:
            where = "Baselines" if row.baseline else "Methods"
            against = row.against or row.without.get("vectors", "")
            tables[where].append(f"| [`{row.key}`]({row.key}.md) | {cells} | {against} |")
        else:
            tables["Planned"].append(f"| `{row.key}` | {cells} |")
    planned = [line.removesuffix(" equal to |").removesuffix("---|") for line in head]
    parts = [
        "\n".join([f"## {name}", "", *(planned if name == "Planned" else head), *lines])
        for name, lines in tables.items()
        if lines
    ]
    return "\n\n".join(parts)


def refreshed(page: str, table: str) -> str:
    """A page's text with what stands between its marks ``methods`` replaced by a table."""
    block = f"<!-- methods -->\n{table}\n<!-- /methods -->"
    return re.sub(r"<!-- methods -->.*<!-- /methods -->", lambda _: block, page, flags=re.S)


if __name__ == "__main__":
    root = Path(sys.argv[1])  # the repository's folder
    for page, table in ((root / "README.md", markdown_short()), (root / "docs/methods/index.md", markdown())):
        page.write_text(refreshed(page.read_text(encoding="utf-8"), table), encoding="utf-8")
