"""The page of SGS: snippet and command run as printed, on a small model and statements of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import quick_prover
from counterpoint.methods.sgs import CONJECTURE
from pages_harness import check_settings, run_commands, run_snippet

KEY = "sgs"


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_prover.data(tmp_path)
    (tmp_path / "rules.txt").write_text("A: a -> b\nB: b -> c\nC: c -> ab\n")
    monkeypatch.chdir(tmp_path)
    quick_prover.model(steps=20).save("path/to/model")


@pytest.mark.usefixtures("_here")
def test_the_snippet_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run_snippet(KEY)
    assert capsys.readouterr().out.startswith("True")
    assert Path("sgs-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
def test_the_command_runs_as_printed() -> None:
    run_commands(KEY)
    for name in (
        "model/model.safetensors",
        "conjecturer/model.safetensors",
        "proofs.jsonl",
        "training/rounds.csv",
    ):
        assert (Path("runs/sgs") / name).exists()


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings(KEY, {"conjecturer.template": "None"} if CONJECTURE else {})
