"""autodistil's page: snippet and commands run as printed on made-up mails, and its table names every setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.models.text.transformer import fresh_transformer
from pages_harness import check_settings, run_commands, run_snippet
from texts_made_up import rows, write_csv

KEY = "autodistil"
SHORTER = {
    "epochs=20": "epochs=1",
    "epochs 20": "epochs 1",
    "minilm-l6": "./four",
    "layers=4-6 width=256-352/32 ratio=2-4 heads=8-12": "layers=3-4 width=12-16/4 ratio=2 heads=2",
    "layers=1-3 width=96-192/32 ratio=2-4 heads=4-8": "layers=1 width=8-12/4 ratio=2 heads=1",
}


@pytest.fixture
def _mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "mails.csv", rows(120))
    words = sorted({word for row in rows(120) for word in row["text"].split()})
    fresh_transformer(words, layers=4, width=16, heads=2).save_pretrained(tmp_path / "four")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_mails")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet(KEY, SHORTER)
    assert Path("model/config.json").exists()


@pytest.mark.usefixtures("_mails")
def test_the_commands_run_as_printed() -> None:
    run_commands(KEY, SHORTER)
    assert Path(f"runs/{KEY}/model/config.json").exists()
    page = Path(f"runs/{KEY}/report.html").read_text(encoding="utf-8")
    assert "Students by cost" in page


def test_the_table_names_every_setting_with_its_default() -> None:
    check_settings(KEY)
