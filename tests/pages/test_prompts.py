"""The page of prompt SPO: snippet and command run as printed, on a small model and questions of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from pages_harness import check_settings, run_commands, run_snippet

KEY = "prompt-spo"
SMALLER = {"max_new_tokens=64": "max_new_tokens=4", "tokens 64": "tokens 4"}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(24)]
    (tmp_path / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)
    tiny(seed=0, length=4096).save("path/to/model")


@pytest.mark.usefixtures("_here")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet(KEY, SMALLER)
    assert Path("prompt-spo-model/prompt.txt").exists()


@pytest.mark.usefixtures("_here")
def test_the_command_runs_as_printed() -> None:
    run_commands(KEY, SMALLER)
    for name in ("prompt.txt", "lineage.md", "lineage.jsonl", "model/instruction.json"):
        assert (Path("runs/prompt-spo") / name).exists()


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings(KEY, {"prompt": "None"})
