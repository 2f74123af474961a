"""What a stranger may hand to coconut by mistake: each is met with one message, and no run is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from own_clips import CLASSES, folder, write_wav

soundfile = pytest.importorskip("soundfile")
ONE = Path("own/low/anna_0.wav")


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("own"), each=2)


def run(*options: str) -> tuple[int, str]:
    from counterpoint.cli.main import app

    given = [
        "run",
        "coconut",
        "--data",
        "own",
        "--out",
        "runs/wrong",
        "--steps",
        "2",
        "--multimodal-weight",
        "0",
    ]
    result = CliRunner().invoke(app, [*given, *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def refused(*options: str) -> str:
    code, output = run(*options)
    assert code == 2, output
    (line,) = output.strip().splitlines()
    assert line.startswith("error: ")
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
    return line


def only_one_class() -> None:
    for name in CLASSES:
        if name != "low":
            shutil.rmtree(f"own/{name}")


def no_class_folders() -> None:
    for file in sorted(Path("own").rglob("*.wav")):
        file.rename(Path("own") / f"{file.parent.name}_{file.name}")


def with_value(value: float) -> None:
    samples = np.zeros(4000, np.float32)
    samples[1234] = value
    soundfile.write(ONE, samples, 8000, subtype="FLOAT")


SPOILT: dict[str, tuple[Callable[[], object], str]] = {
    "one class": (only_one_class, "every clip is of the class 'low'; expected at least two classes"),
    "no class folders": (no_class_folders, "lies in no class folder; expected a folder of class folders"),
    "empty file": (lambda: ONE.write_bytes(b""), f"{ONE} (an empty file); mend or remove"),
    "no samples": (lambda: write_wav(ONE, np.zeros(0, np.int16)), f"{ONE} (no samples); mend or remove"),
    "text": (lambda: ONE.write_text("not a sound\n" * 99), f"{ONE} (Format not recognised.); mend or remove"),
    "not a number": (lambda: with_value(np.nan), f"{ONE} (samples that are not finite); mend or remove"),
    "infinite": (lambda: with_value(np.inf), f"{ONE} (samples that are not finite); mend or remove"),
    "no sounds": (lambda: [f.unlink() for f in Path("own").rglob("*.wav")], "no sound files in this folder"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_clips_are_refused(name: str) -> None:
    spoil, lesson = SPOILT[name]
    spoil()
    assert lesson in refused("--tasks", "2" if name != "one class" else "1")


def test_spoilt_clips_can_be_left_out_as_the_message_says() -> None:
    ONE.write_bytes(b"")
    assert "unreadable=skip" in refused("--tasks", "2")
    code, output = run("--tasks", "2", "--data-option", "unreadable=skip")
    assert code == 0, output
    assert Path("runs/wrong/model/stages.csv").exists()


@pytest.mark.parametrize(
    ("options", "lesson"),
    [
        ("--tasks 4", "tasks=4 and 3 classes; expected from 1 task"),
        ("--tasks 0", "tasks=0 and 3 classes"),
        ("--tasks 2 --memory 2", "give memory=3 or more"),
        ("--tasks 2 --memory -1", "memory.size=-1.0; expected a number from 0 on"),
        ("--tasks 2 --memory nan", "memory.size=nan; expected a number from 0 on"),
        (
            "--tasks 2 --temperature 0",
            "temperature=0.0; expected a number above 0, for example temperature=0.1",
        ),
        ("--tasks 2 --batch-size 0", "batch_size=0; expected a number above 0"),
        ("--tasks 2 --learning-rate -1", "learning_rate=-1.0; expected a number from 0 on"),
        ("--tasks 2 --contrast-weight -1", "contrast.weight=-1.0; expected a number from 0 on"),
        ("--tasks 2 --distillation-weight nan", "distillation.weight=nan; expected a number from 0 on"),
        ("--tasks 2 --memory.replay-share 1", "replay_share=1.0; expected 0 or a share below 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: str, lesson: str) -> None:
    assert lesson in refused(*options.split())
