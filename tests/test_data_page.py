"""docs/data.md shows each example file as it is and what ``counterpoint check`` really prints of it.

``python tests/test_data_page.py`` draws both anew, between ``<!-- example: COMMAND -->`` and ``<!-- /example -->``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # for the script below
PAGE = ROOT / "docs" / "data.md"


def refreshed(page: str, folder: Path) -> str:
    """The page with every example drawn anew from the files in ``folder``, which is the working directory."""
    from counterpoint.cli.main import app
    from example_files import first_lines

    def draw(found: re.Match[str]) -> str:
        command, shown = found[1].strip(), ""
        program, *given = shlex.split(command)
        assert program == "counterpoint"
        path = folder / given[given.index("--data") + 1]
        if path.is_dir() and (path / "trajectories.jsonl").exists():
            path = path / "trajectories.jsonl"
        if path.exists():
            shown = f"```\n{first_lines(path)}\n```\n\n"
        done = CliRunner().invoke(app, given, env={"COLUMNS": "110"})
        assert done.exit_code == 0, (command, done.output, done.exception)
        printed = "\n".join(line.rstrip() for line in done.output.splitlines())
        return (
            f"<!-- example: {command} -->\n{shown}```console\n$ {command}\n{printed}\n```\n<!-- /example -->"
        )

    page = re.sub(r"<!-- recognised -->.*?<!-- /recognised -->", recognised(), page, flags=re.S)
    page = re.sub(r"<!-- options: (\S+) -->.*?<!-- /options -->", options, page, flags=re.S)
    return re.sub(r"<!-- example: ([^\n]*?) -->.*?<!-- /example -->", draw, page, flags=re.S)


def recognised() -> str:
    """The table of what is recognised, in the order in which kinds are tried."""
    from counterpoint.tasks import descriptions

    rows = [f"| [{kind}](#{kind}) | {descriptions.described(kind).looks} |" for kind in descriptions.ORDER]
    return "\n".join(
        ["<!-- recognised -->", "| kind | recognised by |", "|---|---|", *rows, "<!-- /recognised -->"]
    )


def options(block: re.Match[str]) -> str:
    """The table of a kind's data options."""
    from counterpoint.tasks.documented import data_options

    lines = ["| option | what it does |", "|---|---|"]
    for name, of_loader in data_options(block[1]).items():
        only = f"of `{name}` only: " if name else ""
        lines += [f"| `{each.typed}` | {only}{each.what} |" for each in of_loader]
    return "\n".join([f"<!-- options: {block[1]} -->", *lines, "<!-- /options -->"])


@contextlib.contextmanager
def files() -> Iterator[Path]:
    """A working directory with the example files."""
    from example_files import write

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def test_examples_are_as_printed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    with files() as folder:
        assert refreshed(text, folder) == text, "run: python tests/test_data_page.py"


def test_every_kind_has_an_example() -> None:
    from counterpoint.tasks.task import kinds

    text = PAGE.read_text(encoding="utf-8")
    for kind in kinds():
        assert f"## {kind}" in text, kind
        assert f"<!-- options: {kind} -->" in text, kind
    assert text.count("<!-- example: ") >= len(kinds())


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    with files() as folder:
        PAGE.write_text(refreshed(text, folder), encoding="utf-8")
