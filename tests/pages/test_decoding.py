"""The pages of SCMoE, contrastive decoding and DoLa: snippets and commands run as printed, on small models of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from counterpoint.tasks.stock.mixture import ALPHABET, experts
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["scmoe", "contrastive-decoding", "dola"]


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"{n}+1=", "completion": f"{n},{n + 1}", "answer": str(n + 1)} for n in range(24)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)
    Path("path/to").mkdir(parents=True)
    for name in ("mixture", "expert", "model"):
        experts(0, layers=3, num_experts=4).save(f"path/to/{name}")
    tiny(seed=1, layers=1, length=128, alphabet=ALPHABET).save("path/to/amateur")


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key)
    assert Path(f"{key}-model/model.safetensors").exists()
    assert Path(f"{key}-model/contrast.json").exists()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key)
    assert Path(f"runs/{key}/model/contrast.json").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
