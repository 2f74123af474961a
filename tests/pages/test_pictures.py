"""The page of VC-STaR: snippet and commands run as printed, on an untaught reader and questions about pictures of one's own."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from counterpoint.conversation import pictures_of, turns
from counterpoint.data.language.digit_questions import question
from counterpoint.tasks.stock.reader import untaught
from pages_harness import check_settings, run_commands, run_snippet

# An untaught model knows no answer: what its answers begin with stands for whether they are right.
SMALLER = {
    "--max-new-tokens 512": "--judge 'format:[a-m].*' --max-new-tokens 3 --rethinker.max-new-tokens 3 --pairing.image-limit 1.9 "
    "--pairing.image-encoder pixels --pairing.question-encoder tfidf",
    "max_new_tokens=512": "judge='format:[a-m].*', max_new_tokens=3, **{'rethinker.max_new_tokens': 3, 'pairing.image_limit': 1.9, "
    "'pairing.image_encoder': 'pixels', 'pairing.question_encoder': 'tfidf'}",
    "--epochs 3": "--epochs 1",
}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for number in range(48):
        made = question(number, "size", "above four?")
        content = pictures_of(turns(made.prompt))[0]["image"].partition(",")[2]
        (tmp_path / f"{number}.png").write_bytes(base64.b64decode(content))
        rows.append({"prompt": made.question, "images": [f"{number}.png"], "answer": made.answer})
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.chdir(tmp_path)
    untaught(0, width=32, length=4096).save("path/to/model")


@pytest.mark.usefixtures("_here")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet("vc-star", SMALLER)
    assert Path("vc-star-model/model.safetensors").exists()
    assert (
        Path("vc-star-model/preprocessor_config.json").exists()
        or Path("vc-star-model/processor_config.json").exists()
    )


@pytest.mark.usefixtures("_here")
def test_the_commands_run_as_printed() -> None:
    run_commands("vc-star", SMALLER)
    assert Path("runs/vc-star/model/model.safetensors").exists()
    assert Path("runs/vc-star/training/rationales.csv").exists()


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings("vc-star")
