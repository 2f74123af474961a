"""The page of sds-clip: snippet and commands run as printed, on made-up photographs and in a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

import example_files
from pages_harness import check_settings, run_commands, run_snippet

KEY = "sds-clip"
SHORTER = {
    "--epochs 3": "--epochs 1 --data-option size=8 --mapper.steps 1 --teacher.steps 1 --teacher.batch_size 8",
    "epochs=3": "epochs=1", "steps=100": "steps=1", "steps=200": "steps=1, batch_size=8",
}  # fmt: skip


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL.Image")
    example_files.write(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_files")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet(KEY, SHORTER)
    assert Path("clip/model.safetensors").exists()


@pytest.mark.usefixtures("_files")
def test_the_commands_run_as_printed() -> None:
    run_commands(KEY, SHORTER)
    assert Path("vectors.parquet").exists()


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings(KEY)
