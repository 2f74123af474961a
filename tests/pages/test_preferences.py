"""The snippets and commands of the preference side's pages run as printed (a character model stands in for the large one)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["cream", "self-rewarding", "dpo", "reward", "preference-degree", "adpa"]
SMALL = {"smollm2-135m-instruct": "small"}


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = [
        {"prompt": f"{i}+1=", "answer": str(i + 1)} | ({"completion": str(i + 1)} if i % 3 == 0 else {})
        for i in range(24)
    ]
    pairs = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": str(i)} for i in range(24)]
    for name, rows in (("prompts", sums), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key)
    assert key == "self-rewarding" or Path(f"{key}-model/model.safetensors").exists()


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    tiny(seed=0).save(Path("small"))
    run_commands(key, SMALL)
    assert Path(f"runs/{key}/model/model.safetensors").exists()


@pytest.mark.parametrize("key", ["cream", "dpo", "reward", "preference-degree", "adpa"])
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(
        key,
        {
            "cream": {"seed_examples": "all solved"},
            "dpo": {"sft_weight": "by loss"},
            "preference-degree": {"sft_weight": "by loss"},
        }.get(key, {}),
    )
