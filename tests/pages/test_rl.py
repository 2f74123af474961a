"""The snippets and commands of the pages run as printed (shorter), and their tables name every setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_trajectories import own_files
from pages_harness import check_settings, run_commands, run_snippet

BASELINES = ["trajectory-vae", "multi-preference", "preferences-only", "count-ucb", "spr-ucb"]
KEYS = ["sirl", "contrastive-ucb", *BASELINES]
SHORTER = {
    "--epochs 150": "--epochs 2",
    "epochs=75": "epochs=2", "--epochs 75": "--epochs 2", "rounds=150": "rounds=3", "--rounds 150": "--rounds 3",
    "--frames 2000 --warmup 400": "--frames 200 --warmup 100", "horizon=60": "horizon=10",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium")
    (tmp_path / "walks").mkdir()
    own_files(tmp_path / "walks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "q")


@pytest.mark.parametrize("key", ["sirl", "contrastive-ucb"])
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)


@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
