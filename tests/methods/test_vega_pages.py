"""The snippet and the commands of Vega's page run as printed (on made-up mails, one epoch); its table names every setting."""

from __future__ import annotations

import random
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "vega.md"
WORDS = {"spam": "win cash prize offer click now", "work": "meeting report notes friday draft budget"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.fixture
def _mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = random.Random(0)
    lines = ["text,label"]
    for number in range(80):
        label = list(WORDS)[number % 2]
        lines.append(f"{' '.join(draws.choices([*WORDS[label].split(), 'the', 'of'], k=6))},{label}")
    (tmp_path / "mails.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_mails")
def test_snippet_runs_as_printed() -> None:
    (code,) = blocks("python")
    short = code.replace("epochs=20", "epochs=1, pretraining_epochs=1")
    exec(compile(short, "vega.md", "exec"), {})
    assert Path("model/model.safetensors").exists()


@pytest.mark.usefixtures("_mails")
def test_commands_run_as_printed() -> None:
    from counterpoint.cli.main import app

    (script,) = blocks("sh")
    short = script.replace("\\\n", " ").replace("--epochs 20", "--epochs 1 --pretraining-epochs 1")
    for line in short.splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)
    for name in ("vega", "vega-tuning"):
        assert Path(f"runs/{name}/model/head/model.safetensors").exists()


def test_settings_table_names_every_setting_with_its_default() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, value in vars(load("vega").settings()).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert row, f"{name} is not in the table"
        assert row.split("|")[2].strip() in (str(value), f"`{value}`"), (name, value, row)
