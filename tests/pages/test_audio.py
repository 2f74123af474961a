"""The snippets and commands of the pages about clips run as printed (on made-up clips, one epoch)."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_clips import folder
from pages_harness import check_settings, run_commands, run_snippet

pytest.importorskip("soundfile")

KEYS = ["speech-varieties", "audio-classifier"]
SHORTER = {"epochs=20": "epochs=1", "--epochs 20": "--epochs 1"}


@pytest.fixture
def _clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "clips", each=4)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_clips")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)
    assert Path("model/model.safetensors").exists()


@pytest.mark.usefixtures("_clips")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)
    assert Path(f"runs/{key}/model/head/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
