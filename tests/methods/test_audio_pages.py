"""The snippets and commands of the pages about clips run as printed (on made-up clips, one epoch)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load
from own_clips import folder

pytest.importorskip("soundfile")

PAGES = Path(__file__).parents[2] / "docs" / "methods"
KEYS = ["speech-varieties", "audio-classifier"]


def blocks(key: str, language: str) -> list[str]:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


@pytest.fixture
def _clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "clips", each=4)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_clips")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    (code,) = blocks(key, "python")
    exec(compile(code.replace("epochs=20", "epochs=1"), f"{key}.md", "exec"), {})
    assert Path("model/model.safetensors").exists()


@pytest.mark.usefixtures("_clips")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    from counterpoint.cli.main import app

    (script,) = blocks(key, "sh")
    for line in script.replace("\\\n", " ").replace("--epochs 20", "--epochs 1").splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)
    assert Path(f"runs/{key}/model/head/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    for name, value in vars(load(key).settings()).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert row, f"{name} is not in the table"
        assert row.split("|")[2].strip() in (str(value), f"`{value}`"), (name, value, row)
