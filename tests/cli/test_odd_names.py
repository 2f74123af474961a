"""Names whose bytes are no UTF-8: one line that shows them, before anything is written; never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from counterpoint import api
from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError, require_utf8

ODD = os.fsdecode(b"caf\xe9")
ROWS = "text,label\n" + "".join(f"text number {n} here,{'ab'[n % 2]}\n" for n in range(60))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path(f"{ODD}.csv").write_text(ROWS)
    Path("texts.csv").write_text(ROWS)
    for folder in (ODD, "fine"):
        Path(folder).mkdir()
        Path(folder, "train.csv").write_text(ROWS)
    Path("fine", "train.csv").rename(Path("fine", f"train-{ODD}.csv"))
    return tmp_path


RUN = ("run", "text-classifier", "--steps", "2")
COMMANDS = [
    ("check", "--data", f"{ODD}.csv"),
    ("check", "--data", ODD),
    ("check", "--data", "fine"),
    ("check", "--data", "texts.csv", "--model", ODD),
    ("check", "--data", "texts.csv", "--data-option", f"text={ODD}"),
    (*RUN, "--data", f"{ODD}.csv", "--out", "out"),
    (*RUN, "--data", "texts.csv", "--out", f"out-{ODD}"),
    (*RUN, "--data", "texts.csv", "--model", ODD, "--out", "out"),
    ("compare", "tfidf", "text-classifier", "--data", "texts.csv", "--out", ODD + "-study"),
    ("report", ODD),
    ("resume", ODD),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_in_one_line(home, command):
    before = sorted(os.listdir(home))
    result = CliRunner().invoke(app, list(command))
    assert result.exit_code == 2, result.output
    assert "no UTF-8" in result.output
    assert r"caf\xe9" in " ".join(result.output.split())
    result.output.encode("utf-8")
    assert sorted(os.listdir(home)) == before


def test_names_of_classes_and_pictures(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("a", ODD):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for n in range(12):
            pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{n}.png")
    with pytest.raises(
        CounterpointError, match=r"12 files have names that are no UTF-8 \(caf\\xe9/0.png, .*convmv"
    ):
        api.run("simclr", data=tmp_path / "photos", out=tmp_path / "out", steps=1)
    assert not (tmp_path / "out").exists()
    (tmp_path / "photos" / ODD).rename(tmp_path / "photos" / "b")
    (tmp_path / "photos" / f"notes-{ODD}.doc").write_text("no data, in nobody's way")
    result = CliRunner().invoke(app, ["check", "--data", str(tmp_path / "photos")])
    assert result.exit_code == 0, result.output


def test_from_python(home):
    for given in ({"data": f"{ODD}.csv", "out": "out"}, {"data": "texts.csv", "out": ODD + "-out"}):
        with pytest.raises(CounterpointError, match=r"caf\\xe9.* are no UTF-8"):
            api.run("tfidf", **given)
    assert not Path("out").exists()
    for value in ({"a": ["x", ODD]}, [Path(ODD)], {ODD: 1}, "\ud800"):
        with pytest.raises(CounterpointError, match="are no UTF-8"):
            require_utf8(value, "it")
    require_utf8({"é": ["\U0001f600", 3, None]}, "it")


@pytest.mark.parametrize("data", ["é.csv", "mails"])
def test_a_locale_that_reads_names_as_ascii_is_named(tmp_path, data):
    """The name is UTF-8 and the file is fine: what is to be mended is the locale."""
    (tmp_path / "mails" / "thé").mkdir(parents=True)
    (tmp_path / "mails" / "thé" / "a.txt").write_text("warm")
    (tmp_path / "é.csv").write_text(ROWS)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "counterpoint", "check", "--data", data]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | plain, capture_output=True)
    assert done.returncode == 2
    assert b"no UTF-8" not in done.stderr
    assert b"locale" in done.stderr
    assert b"PYTHONUTF8=1" in done.stderr
    if data == "é.csv":
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | plain | {"PYTHONUTF8": "1"})
        assert done.returncode == 0
