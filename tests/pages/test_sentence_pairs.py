"""The pages of the methods that learn from pairs of sentences: snippets and commands run as printed, on a small encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import example_files
from counterpoint.models.sentence_pairs.encoder import SentenceEncoder
from counterpoint.models.text.transformer import fresh_transformer
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["multiple-negatives", "sentence-triplet", "cosent"]
SHORTER = {
    "minilm-l6": "small", "--epochs 3": "--steps 2", "epochs=3": "epochs=1",
    "--seeds 3 --trials 2 --steps 100": "--seeds 1 --steps 1",
}  # fmt: skip


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL.Image")
    example_files.write(tmp_path)
    words = ["what", "is", "a", "for", "and", "by", "the", "coast", *example_files.TEA, *example_files.SEA]
    SentenceEncoder(fresh_transformer(words, layers=1, width=16)).save_pretrained(tmp_path / "small")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)
    assert Path("encoder/modules.json").exists()


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)
    assert Path(f"runs/{key}/model/1_Pooling/config.json").exists()
    if key == "multiple-negatives":
        rows = [json.loads(line) for line in Path("likeness.jsonl").read_text().splitlines()]
        assert len(rows) == 40
        assert all(-1 <= row["similarity"] <= 1.000001 for row in rows)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
