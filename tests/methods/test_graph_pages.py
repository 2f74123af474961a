"""The Python snippets and the commands of the graph recommenders' pages run as printed (on made-up ratings, fewer epochs)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load
from interaction_clusters import write_clusters

PAGES = Path(__file__).parents[2] / "docs" / "methods"
KEYS = ["xsimgcl", "simgcl", "sgl", "lightgcn"]


def blocks(key: str, language: str) -> list[str]:
    page = (PAGES / f"{key}.md").read_text()
    return [
        block.replace("epochs=20", "epochs=2")
        for block in re.findall(rf"```{language}\n(.*?)```", page, re.S)
    ]


@pytest.fixture
def _ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clusters(tmp_path / "ratings.tsv", "user\titem\trating\ttime", users=60)
    path.write_text(path.read_text().replace("u7\t", "196\t"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_ratings")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    (code,) = blocks(key, "python")
    exec(compile(code, f"{key}.md", "exec"), {})


@pytest.mark.usefixtures("_ratings")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    from counterpoint.cli.main import app

    (script,) = blocks(key, "sh")
    for line in script.replace("\\\n", " ").replace("--epochs 20", "--epochs 2").splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text()
    for name, value in vars(load(key).settings()).items():
        row = next((line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line), "")
        assert row, f"{name} is not in the table"
        shown = (
            [f"{value:g}", str(value), f"`{value}`", "1e-4", "1e-3"]
            if isinstance(value, float)
            else [str(value)]
        )
        assert any(text in row for text in shown), (name, value, row)
