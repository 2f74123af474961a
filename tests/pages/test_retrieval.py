"""The pages of the methods that learn from retrieval data: snippet and commands run as printed, on a small folder and model."""

from __future__ import annotations

from pathlib import Path

import pytest

import beir_folder
import conversation_folder
from counterpoint.models.language.characters import tiny
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["grace", "disco"]
SMALLER = {
    "tokens 64": "tokens 4",
    "smollm2-135m-instruct": "small",
    "documents=200": "documents=40",
    "bert-tiny": "sparse-words",
}
NOT_SPELLED_OUT = {
    "template": "in `counterpoint.models.retrieval.embedder`",
    "teacher.template": "in `counterpoint.phases.retrieval.rewriting`",
    "teacher.rewriters": "`data`",
}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beir_folder.write(tmp_path / "food")
    conversation_folder.write(tmp_path / "dishes")
    tiny(seed=0).save(tmp_path / "small")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SMALLER)
    assert Path(f"{key}-model/modules.json").exists()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    if key == "disco":
        pytest.importorskip("ir_measures")
    run_commands(key, SMALLER)
    assert Path(f"runs/{key}/model/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key, NOT_SPELLED_OUT)
