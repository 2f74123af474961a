"""Every tutorial runs from its top to its end as printed, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app

PAGES = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))
ALL = {"check", "recommend", "compare", "run", "predict"}
"""What a tutorial goes through."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of what a reader types, in order."""
    return re.findall(r"^```(python|sh)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_goes_the_whole_way(page: Path) -> None:
    commands = [
        line.split()[1] for language, text in blocks(page) if language == "sh" for line in text.splitlines()
    ]
    assert set(commands) >= ALL
    assert blocks(page)[0][0] == "python", "it begins with the data"
    assert blocks(page)[-1][0] == "python", "it ends with the model opened elsewhere"
    root = Path(__file__).parents[2]
    for names_it in ("website/mkdocs.yml", "docs/index.md"):
        assert f"tutorials/{page.name}" in (root / names_it).read_text(encoding="utf-8"), names_it


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_as_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, text in blocks(page):
        if language == "python":
            exec(text, names)
            continue
        for line in text.splitlines():
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            assert done.exit_code == 0, (line, done.output, done.exception)
