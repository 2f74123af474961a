"""The snippets and commands of the pages of text run as printed (on made-up mails, one epoch), and their settings are all there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint import api
from counterpoint.methods.catalog import load
from texts_made_up import rows, write_csv

PAGES = Path(__file__).parents[2] / "docs" / "methods"
KEYS = ["contrastive-primer", "text-classifier", "tfidf"]


def blocks(key: str, language: str) -> list[str]:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


@pytest.fixture
def _mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "mails.csv", rows(120))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_mails")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    (code,) = blocks(key, "python")
    exec(compile(code.replace("epochs=20", "epochs=1"), f"{key}.md", "exec"), {})
    assert Path("model/head/model.safetensors").exists()


@pytest.mark.usefixtures("_mails")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    from counterpoint.cli.main import app

    (script,) = blocks(key, "sh")
    for line in script.replace("\\\n", " ").replace("--epochs 20", "--epochs 1").splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)
    assert Path(f"runs/{key}/model/head/model.safetensors").exists()


@pytest.mark.usefixtures("_mails")
def test_data_are_checked_as_the_page_says() -> None:
    from counterpoint.cli.main import app

    said = CliRunner().invoke(app, ["check", "--data", "mails.csv"])
    assert said.exit_code == 0, (said.output, said.exception)
    assert "4 classes" in said.output


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    for name, value in vars(load(key).settings()).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert row, f"{name} is not in the table"
        assert row.split("|")[2].strip() in (str(value), f"`{value}`"), (name, value, row)


def test_every_objective_is_on_the_page() -> None:
    from typing import get_args

    from counterpoint.methods.contrastive_primer import Objective

    page = (PAGES / "contrastive-primer.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in get_args(Objective))


def test_the_case_is_fair() -> None:
    _, plan = api.reproduction("contrastive-primer")
    entries = {entry.name: entry for entry in plan.entries}
    assert plan.seeds >= 5
    for share in ("3 %", "10 %", "all"):
        pretrained, scratch, words = (
            entries[f"{arm}, {share}"] for arm in ("pretrained", "scratch", "tfidf")
        )
        assert pretrained.tune == scratch.tune != {}
        assert words.tune
        assert pretrained.recipe.data_options == scratch.recipe.data_options == words.recipe.data_options
        assert scratch.recipe.settings["pretraining_epochs"] == 0
