"""The page of coconut: its snippet and commands run as printed (on made-up commands, one epoch), its settings and case hold."""

from __future__ import annotations

import csv
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from counterpoint import api
from counterpoint.methods.catalog import load
from pages_harness import check_settings, page, run_commands, run_snippet

SHORTER = {
    "epochs=20": "epochs=1",
    "--epochs 20": "--epochs 1",
    "--steps 20": "--steps 2",
    "--seeds 2": "--seeds 1",
}
WORDS = {
    "dial": "please dial one",
    "stop": "stop now",
    "next": "the next message",
    "repeat": "say it again please",
}


@pytest.fixture
def _commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("soundfile")
    folder, draw = tmp_path / "commands", np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number in range(48):
        intent = list(WORDS)[number % 4]
        name = f"{number}.wav"
        time = np.arange(int(draw.integers(4000, 8000))) / 16_000
        tone = np.sin(2 * np.pi * 300 * (1 + number % 4) * time) * (time < 0.2)
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((9000 * tone + 50 * draw.normal(size=len(time))).astype("<i2").tobytes())
        rows.append({"file": name, "intent": intent, "text": WORDS[intent], "speaker": f"s{number // 4}"})
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_commands")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet("coconut", SHORTER)
    assert Path("model/intents/model.safetensors").exists()
    assert Path("model/stages.csv").read_text().count("\n") == 5


@pytest.mark.usefixtures("_commands")
def test_commands_run_as_printed() -> None:
    run_commands("coconut", SHORTER)
    assert Path("runs/coconut/model/intents/config.json").exists()
    report = Path("coconut.html").read_text(encoding="utf-8")
    assert "Stages on test" in report
    assert "task 2" in report


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings("coconut")


def test_what_it_is_compared_with_are_settings() -> None:
    text = page("coconut")
    table = text[text.index("| compared with |") : text.index("The saved folder holds")]
    for given in re.findall(r"[` ]([a-z_.]+)=([^` ]+)", table):
        load("coconut").settings(**dict([given]))


def test_the_case_is_fair() -> None:
    case, plan = api.reproduction("coconut")
    entries = {entry.name: entry for entry in plan.entries}
    assert plan.seeds >= 5
    assert {str(entry.recipe.budget) for entry in plan.entries} == {str(case.budget)}
    assert {str(entry.tune["learning_rate"]) for entry in plan.entries} == {"[0.0003, 0.001, 0.003]"}
    weights = {
        str(entries[name].tune.get("contrast.weight"))
        for name in ("replay + ntpt", "replay + nspt", "coconut")
    }
    assert len(weights) == 1
    assert entries["joint"].recipe.settings["tasks"] == 1
    assert entries["fine-tuning"].recipe.settings["memory.size"] == 0


@pytest.mark.usefixtures("_commands")
@pytest.mark.parametrize(
    ("change", "lesson"),
    [
        (["--tasks", "9"], "from 1 task"),
        (["--tasks", "2", "--memory", "2"], "at least one row per class"),
        (["--distilation", "tokens"], "distillation"),
        (["--tasks", "2", "--distillation", "seqence"], "did you mean 'sequence'"),
        (["--data-option", "text=words"], "no column 'words'"),
    ],
)
def test_wrong_input_is_one_message_and_leaves_nothing(change: list[str], lesson: str) -> None:
    from counterpoint.cli.main import app

    given = [
        "run",
        "coconut",
        "--data",
        "commands/metadata.csv",
        "--out",
        "runs/wrong",
        "--steps",
        "2",
        *change,
    ]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2, result.output
    assert lesson in result.output
    assert not Path("runs/wrong").exists()


@pytest.mark.usefixtures("_commands")
def test_clips_without_words_say_what_to_do() -> None:
    from counterpoint.cli.main import app

    file = Path("commands/metadata.csv")
    rows = list(csv.DictReader(file.open()))
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["file", "intent"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    given = ["run", "coconut", "--data", str(file), "--out", "runs/mute", "--steps", "2", "--tasks", "2"]
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code == 2
    assert "multimodal.weight=0" in refused.output
    assert not Path("runs/mute").exists()
    done = CliRunner().invoke(app, [*given, "--multimodal-weight", "0"])
    assert done.exit_code == 0, (done.output, done.exception)
    more = ["--model", "runs/mute/model", "--out", "runs/more", "--multimodal-weight", "0"]
    again = CliRunner().invoke(app, [*given[:4], *more, "--steps", "2", "--tasks", "2"])
    assert again.exit_code == 0, (again.output, again.exception)
