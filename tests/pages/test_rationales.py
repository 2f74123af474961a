"""The pages of QCRD and distilling step-by-step: snippets and commands run as printed, on small models and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny, tiny_encoder_decoder
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["qcrd", "step-by-step"]
SMALLER = {
    "--epochs 8": "--epochs 6 --judge.steps 4 --max-new-tokens 4",
    "--epochs 1": "--epochs 1 --judge.steps 1 --teacher.max-new-tokens 4 --max-new-tokens 4",
}
NOT_SPELLED_OUT = {"teacher.template": "in `counterpoint.phases.rationales`"}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "prompt": f"{n}+1=",
            "answer": str(n + 1),
            "rationales": [f"so #### {n + 1}", f"#### {n + 1}", f"hm #### {n}"],
        }
        for n in range(24)
    ]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    bare = [{name: row[name] for name in ("prompt", "answer")} for row in rows]
    (tmp_path / "unexplained.jsonl").write_text("\n".join(json.dumps(row) for row in bare))
    monkeypatch.chdir(tmp_path)
    tiny_encoder_decoder(seed=0).save("path/to/student")
    tiny(seed=1).save("path/to/teacher")


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key)
    assert Path(f"{key}-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SMALLER)
    assert Path(f"runs/{key}/model/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key, NOT_SPELLED_OUT)
