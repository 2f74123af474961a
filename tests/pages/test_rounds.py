"""The pages of methods that sample, rank and learn: snippets and commands run as printed, on a small model in place of a bundled one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["suboptimal-onpolicy", "selm"]
SMALLER = {
    "smollm2-135m-instruct": "small",
    "tokens 128": "tokens 4",
    "tokens=32": "tokens=4",
    "epochs=3": "epochs=1",
}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(24)]
    pairs = [{"prompt": f"{n}+1=", "chosen": str(n + 1), "rejected": str(n)} for n in range(24)]
    for name, rows in (("problems", problems), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SMALLER)
    assert Path(f"{key}-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    tiny(seed=0).save("small")
    run_commands(key, SMALLER)
    assert Path(f"runs/{key}/model/model.safetensors").exists()
    pairs = Path("runs/from-pairs/run.json")
    assert key == "selm" or json.loads(pairs.read_text())["recipe"]["kind"] == "preferences"


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
