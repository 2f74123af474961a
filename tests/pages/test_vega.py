"""The snippet and the commands of Vega's page run as printed (on made-up mails, one epoch); its table names every setting."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pages_harness import check_settings, run_commands, run_snippet

SHORTER = {
    "epochs=20, pretraining=Pretraining(epochs=10)": "epochs=1, pretraining=Pretraining(epochs=1)",
    "--epochs 20": "--epochs 1 --pretraining-epochs 1",
}
WORDS = {"spam": "win cash prize offer click now", "work": "meeting report notes friday draft budget"}


@pytest.fixture
def _mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = random.Random(0)
    lines = ["text,label"]
    for number in range(80):
        label = list(WORDS)[number % 2]
        lines.append(f"{' '.join(draws.choices([*WORDS[label].split(), 'the', 'of'], k=6))},{label}")
    (tmp_path / "mails.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_mails")
def test_snippet_runs_as_printed() -> None:
    run_snippet("vega", SHORTER)
    assert Path("model/model.safetensors").exists()


@pytest.mark.usefixtures("_mails")
def test_commands_run_as_printed() -> None:
    run_commands("vega", SHORTER)
    for name in ("vega", "vega-tuning"):
        assert Path(f"runs/{name}/model/head/model.safetensors").exists()


def test_settings_table_names_every_setting_with_its_default() -> None:
    check_settings("vega")
