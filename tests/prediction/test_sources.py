"""Data of every form give the same answers; what is wrong leaves nothing behind; nothing but a batch is held."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app
from counterpoint.errors import CounterpointError
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.words import WordEncoder
from counterpoint.prediction.predict import Predict
from own_clips import CLASSES, hum, write_wav

TEXTS = ["the kettle is warm", "a boat at sea", 'a "salty", storm', "sugar and leaf"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    words = sorted({word for text in TEXTS for word in text.replace('"', "").replace(",", "").split()})
    folder = tmp_path_factory.mktemp("text") / "model"
    with_linear_head(WordEncoder(words), ["tea", "sea"], False, seed=0).save_pretrained(folder)
    return folder


def labels(answers: list[dict[str, object]]) -> list[object]:
    return [answer["label"] for answer in answers]


def call(*arguments: object, input: str | None = None) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], input=input)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_every_form_of_table_gives_the_same_answers(model: Path, tmp_path: Path) -> None:
    opened = counterpoint.load(model)
    expected = opened.predict(TEXTS)
    rows = [{"text": text, "id": f"t{n}", "label": "sea"} for n, text in enumerate(TEXTS)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.json", "a.parquet"):
        answers = opened.predict(tmp_path / name)
        assert [answer.pop("id") for answer in answers] == ["t0", "t1", "t2", "t3"]
        assert answers == expected
    assert [one["row"] for one in opened.predict(tmp_path)] == [1, 2, 3, 4] * 4  # all tables of a folder
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS) + "\n\n")
    assert opened.predict(tmp_path / "lines.txt") == expected
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("the kettle\nis warm\n")
    assert opened.predict(texts)[0]["file"] == "one.txt"
    assert opened.predict(iter(rows)) == opened.predict(rows)


def test_standard_input(model: Path) -> None:
    expected = [
        json.loads(line)
        for line in call("predict", model, "--data", "-", input="\n".join(TEXTS)).splitlines()
    ]
    assert labels(expected) == labels(counterpoint.load(model).predict(TEXTS))
    rows = [{"note": n, "text": text} for n, text in enumerate(TEXTS)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    for given in (lines, table.getvalue(), json.dumps(rows)):
        answers = [
            json.loads(line)
            for line in call("predict", model, "--data", "-", "--keep", "note", input=given).splitlines()
        ]
        assert labels(answers) == labels(expected)
        assert [str(answer["note"]) for answer in answers] == ["0", "1", "2", "3"]
    done = CliRunner().invoke(app, ["predict", str(model), "--data", "-"], input="")
    assert (done.exit_code, "standard input is empty" in done.output) == (2, True)


def test_files_of_answers(model: Path, tmp_path: Path) -> None:
    answers = counterpoint.load(model).predict(TEXTS)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    for ending in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"answers.{ending}"
        shown = json.loads(call("predict", model, "--data", tmp_path / "a.jsonl", "--out", out, "--json"))
        assert (shown["rows"], shown["what"], shown["left_out"]) == (4, "labels", 0)
    assert [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == answers
    assert pyarrow.parquet.read_table(tmp_path / "answers.parquet").to_pylist() == answers
    cells = list(csv.DictReader((tmp_path / "answers.csv").open(newline="")))
    assert [row["label"] for row in cells] == labels(answers)
    assert [float(row["probability.tea"]) for row in cells] == [
        answer["probabilities"]["tea"] for answer in answers
    ]
    done = counterpoint.predict(model, data=TEXTS, out=tmp_path / "again.jsonl", batch_size=3)
    assert done.rows == 4
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert labels(again) == labels(answers)


WRONG = {
    "missing.jsonl": (None, "there is no data at"),
    "empty.jsonl": ("", "holds no rows"),
    "column.jsonl": ('{"words": "a"}\n', "row 1: no text; it has words, and expected is a column text"),
    "gap.jsonl": ('{"text": "a"}\n{"text": " "}\n', "row 2: an empty text"),
    "number.jsonl": ('{"text": "a"}\n{"text": 3}\n', "row 2: int, no text"),
    "cut.jsonl": ('{"text": "a"}\n{"text": "b"', "line 2"),
    "a.docx": ("x", "ends in '.docx'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_leaves_nothing_and_an_older_file_as_it_was(
    model: Path, tmp_path: Path, name: str
) -> None:
    content, message = WRONG[name]
    data, out = tmp_path / name, tmp_path / "out.jsonl"
    if content is not None:
        data.write_text(content)
    out.write_text("older\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CounterpointError, match=message.replace(".", r"\.")):
        counterpoint.predict(model, data=data, out=out, batch_size=1)
    assert out.read_text() == "older\n"
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_calls(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "a.txt"
    data.write_text("a text\n")
    for out, message in (
        ("a.xlsx", r"ends in '\.xlsx'"),
        ("no/a.csv", "there is no folder"),
        (".", "ends in ''"),
    ):
        with pytest.raises(CounterpointError, match=message):
            counterpoint.predict(model, data=data, out=tmp_path / out if out != "." else tmp_path)
    for settings, message in (
        ({"batch_size": 0}, "batch_size=0: expected 1 or more"),
        ({"temperatur": 1}, "did you mean 'temperature'"),
        ({"device": "cudda"}, "device=cudda"),
        ({"keep": ["other"]}, "no column 'other' to keep"),
        ({"column": "words"}, "no text; it has text"),
    ):
        with pytest.raises(CounterpointError, match=message):
            counterpoint.predict(model, data=data, out=tmp_path / "out.csv", **settings)
    with pytest.raises(CounterpointError, match="holds no model"):
        counterpoint.predict(tmp_path, data=data, out=tmp_path / "out.csv")
    with pytest.raises(CounterpointError, match="put it into a list"):
        counterpoint.load(model).predict({"text": "a"})
    assert not (tmp_path / "out.csv").exists()


def test_rows_that_cannot_be_read_are_left_out_and_counted(model: Path, tmp_path: Path) -> None:
    rows = [{"text": "a boat"}, {"text": ""}, {"text": "the kettle"}, {"other": 1}]
    done = counterpoint.predict(model, data=rows, out=tmp_path / "out.jsonl", skip=True)
    assert (done.rows, done.left_out) == (2, 2)
    assert [json.loads(line)["row"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1, 3]
    with pytest.raises(CounterpointError, match="no row of"):
        counterpoint.predict(model, data=rows[1:2], out=tmp_path / "none.jsonl", skip=True)
    assert not (tmp_path / "none.jsonl").exists()


def test_no_more_than_a_batch_is_read_ahead(model: Path) -> None:
    pulled = 0

    def rows() -> Iterator[str]:
        nonlocal pulled
        for _ in range(10_000):
            pulled += 1
            yield "a boat at sea"

    predict = counterpoint.load(model).predict
    assert isinstance(predict, Predict)
    answers = predict.stream(rows())
    next(answers)
    assert pulled <= 256
    assert sum(1 for _ in answers) == 9_999


@pytest.mark.slow
def test_a_killed_prediction_leaves_no_file_of_answers(model: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("a boat at sea\n" * 300_000)
    out = tmp_path / "out.jsonl"
    command = [
        sys.executable,
        "-m",
        "counterpoint",
        "predict",
        model,
        "--data",
        tmp_path / "many.txt",
        "--out",
        out,
    ]
    running = subprocess.Popen([str(one) for one in command], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob(".out.jsonl.*.partial")):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert running.returncode == -signal.SIGKILL
    assert not out.exists()
    counterpoint.predict(model, data=["a boat"], out=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.txt", "out.jsonl"]


def test_one_clip_of_another_rate_and_a_folder_of_one(tmp_path: Path) -> None:
    import numpy as np

    draw = np.random.default_rng(0)
    for n in range(24):
        label = list(CLASSES)[n % 3]
        write_wav(tmp_path / "clips" / label / f"{'abcd'[n // 6]}_{n}.wav", hum(CLASSES[label], 0.3, draw))
    counterpoint.run(
        "audio-classifier",
        data=str(tmp_path / "clips"),
        data_options={"group": "prefix", "sample_rate": 8000},
        settings={"batch_size": 8},
        steps=2,
        out=tmp_path / "run",
        progress=False,
        evaluate=False,
    )
    single = write_wav(tmp_path / "new" / "x.wav", hum(CLASSES["low"], 0.5, draw, rate=16_000), rate=16_000)
    [one] = counterpoint.load(tmp_path / "run" / "model").predict(single)
    [other] = [
        json.loads(line)
        for line in call("predict", tmp_path / "run", "--data", tmp_path / "new").splitlines()
    ]
    assert one == other
    assert set(one["probabilities"]) == set(CLASSES)
    (tmp_path / "table.csv").write_text("file\nnew/x.wav\n")
    [row] = counterpoint.load(tmp_path / "run" / "model").predict(tmp_path / "table.csv")
    assert row["probabilities"] == one["probabilities"]
