"""The snippets and commands of the pages of text run as printed (on made-up mails, one epoch), and their settings are all there."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint import api
from counterpoint.models.text.transformer import fresh_transformer
from pages_harness import check_settings, page, run_commands, run_snippet
from texts_made_up import rows, write_csv

KEYS = ["contrastive-primer", "text-classifier", "tfidf", "distiller"]
SHORTER = {"epochs=20": "epochs=1", "epochs 20": "epochs 1", "minilm-l6": "./four", "trials 30": "trials 2"}


@pytest.fixture
def _mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "mails.csv", rows(120))
    words = sorted({word for row in rows(120) for word in row["text"].split()})
    fresh_transformer(words, layers=4, width=16, heads=2).save_pretrained(tmp_path / "four")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_mails")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)
    assert Path("model/head/model.safetensors").exists()


@pytest.mark.usefixtures("_mails")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)
    assert Path(f"runs/{key}/model/head/model.safetensors").exists()


@pytest.mark.usefixtures("_mails")
def test_data_are_checked_as_the_page_says() -> None:
    from counterpoint.cli.main import app

    said = CliRunner().invoke(app, ["check", "--data", "mails.csv"])
    assert said.exit_code == 0, (said.output, said.exception)
    assert "4 classes" in said.output


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)


def test_every_objective_is_on_the_page() -> None:
    from typing import get_args

    from counterpoint.methods.contrastive_primer import Objective

    text = page("contrastive-primer")
    assert all(f"`{name}`" in text for name in get_args(Objective))


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
