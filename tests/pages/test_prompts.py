"""The pages of prompt SPO, SPaR and SPECS: snippets and commands run as printed, on a small model and rows of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from pages_harness import check_settings, run_commands, run_snippet

KEY = "prompt-spo"
SMALLER = {"max_new_tokens=64": "max_new_tokens=4", ": 32": ": 4", "tokens 64": "tokens 4"}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(24)]
    (tmp_path / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    names = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    follow = [{"prompt": f"{n}: no comma.", **names} for n in range(24)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(json.dumps(row) for row in follow))
    form = "Reason in <think>, answer in <answer>."
    formed = [{"prompt": f"{n}+1= {form}", "answer": str(n + 1)} for n in range(24)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in formed))
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


FEWER = {
    "max_new_tokens=32": "max_new_tokens=4",
    "tokens 32": "tokens 4",
    "=64": "=4",
    ": 64": ": 4",
    ": 32": ": 4",
    "tokens 64": "tokens 4",
}


@pytest.mark.usefixtures("_here")
def test_the_snippet_of_spar_runs_as_printed() -> None:
    run_snippet("spar", FEWER)
    assert Path("spar-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
def test_the_command_of_spar_runs_as_printed() -> None:
    run_commands("spar", FEWER)
    for name in ("model", "refiner"):
        assert (Path("runs/spar") / name / "model.safetensors").exists()


@pytest.mark.usefixtures("_here")
def test_the_snippet_of_specs_runs_as_printed() -> None:
    run_snippet("specs", FEWER)
    assert Path("specs-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
def test_the_commands_of_specs_run_as_printed() -> None:
    run_commands("specs", FEWER)
    for name in ("zero", "specs", "final"):
        assert (Path("runs") / name / "model" / "model.safetensors").exists()
    assert Path("runs/specs/training/form.csv").exists()


@pytest.mark.parametrize("key", ["spar", "specs"])
def test_the_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings(KEY, {"prompt": "None"})
