"""The search over pipelines on a user's own texts: the teacher's figure, the student without one, and what it recommends elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint import api
from counterpoint.cli.main import app
from counterpoint.models.text.encoder import with_linear_head
from counterpoint.models.text.transformer import fresh_transformer
from counterpoint.tasks.text import TASK
from texts_made_up import rows, write_csv


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tables, an encoder of four layers, and a classifier of the tables' classes."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "mails.csv", rows(120))
    write_csv(tmp_path / "more.csv", rows(100)[20:])
    words = sorted({word for row in rows(120) for word in row["text"].split()})
    encoder = fresh_transformer(words, layers=4, width=16, heads=2, seed=1)
    encoder.save_pretrained("four")
    with_linear_head(encoder, TASK.load_data("mails.csv").classes, False, 1).save_pretrained("teacher")
    return tmp_path


SETTINGS = {"teacher.model": "teacher", "training.batch_size": 8, "training.learning_rate": 1e-3}
VARY = {"loss": ["none", "mse", "pkd"], "mapping": ["skip", "last"]}


@pytest.mark.usefixtures("folder")
def test_a_search_records_the_teachers_figure_and_the_students_without_it_and_recommends_on_other_texts() -> (
    None
):
    first = api.tune(
        "distiller", data="mails.csv", model="four:2", out="first", settings=SETTINGS, vary=VARY, trials=3,
        seeds=1, steps=2,
    )  # fmt: skip
    record, data = first["record"], TASK.load_data("mails.csv")
    measured = TASK.evaluate(TASK.load_model("teacher", data, 0), data, "validation", 1000)
    assert record["teacher"] == "teacher"
    assert record["reference"] == pytest.approx(measured["macro_ap"])
    assert record["facts"]["rows"] == len(data.train)
    assert len(record["inputs"]) == 100
    alone = json.loads(Path("first/tuning/distiller/untaught/run.json").read_text())["recipe"]["settings"]
    assert (alone["loss"], alone["weights.prediction"], alone["weights.hard"]) == ("none", 0.0, 1.0)
    assert 0 < record["bare"] <= 1
    told = CliRunner().invoke(app, [
        "tune", "distiller", "--data", "more.csv", "--model", "four:2", "--out", "second", "--teacher-model", "teacher",
        "--vary", "loss=none,mse,pkd", "--vary", "mapping=skip,last", "--records", "first", "--top", "2", "--seeds", "1",
        "--steps", "2", "--json",
    ])  # fmt: skip
    assert told.exit_code == 0, (told.output, told.exception)
    second = json.loads(told.stdout)
    assert len(second["record"]["tried"]) == 2
    tried = [each["settings"] for each in second["record"]["tried"]]
    assert tried == [each["settings"] for each in second["foretold"]]
    assert second["left_out"] == []
    stored = json.loads(Path("second/summary.json").read_text())
    assert stored["foretold"] == second["foretold"]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_the_command_says_what_matters_and_an_encoder_as_teacher_has_no_figure() -> None:
    told = CliRunner().invoke(app, [
        "tune", "distiller", "--data", "mails.csv", "--model", "four:2", "--out", "first", "--teacher-model", "four",
        "--vary", "loss=none,pkd", "--trials", "2", "--seeds", "1", "--steps", "2",
    ])  # fmt: skip
    assert told.exit_code == 0, (told.output, told.exception)
    assert "pkd" in told.output
    record = json.loads(Path("first/summary.json").read_text())["record"]
    assert record["teacher"] == ""
    assert record["reference"] == max(each["value"] for each in record["tried"])
    wrong = CliRunner().invoke(app, [
        "tune", "distiller", "--data", "mails.csv", "--out", "third", "--records", "nowhere",
    ])  # fmt: skip
    assert wrong.exit_code == 2
    assert not Path("third").exists()
