"""The kind of data is recognised in every encoding that its loader reads, and a stray picture changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.tasks.recognise import kind_of

INTERACTIONS = "user\titem\trating\nAnaïs\tb\t4\nc\td\t5\n"
REGRESSION = "age,weight,target\n1,2,3\n4,5,6\n"
TEXT = "text,label\na fine café,good\nbad,bad\n"
PROBLEMS = '{"prompt": "2 + 2?", "answer": "4"}\n{"prompt": "3 + 3?", "answer": "6"}\n'
LONG = '{"prompt": "' + "é" * 100_000 + '", "answer": "4"}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.tsv", INTERACTIONS, "interactions"),
        ("a.csv", REGRESSION, "regression"),
        ("a.csv", TEXT, "text"),
    ],
)
def test_tables_in_every_encoding(tmp_path: Path, encoding: str, name: str, content: str, kind: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert kind_of(str(tmp_path / name)) == kind
    assert kind_of(str(tmp_path)) == kind


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_in_every_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    content = PROBLEMS if name == "a.jsonl" else "[" + PROBLEMS.strip().replace("\n", ",") + "]"
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert kind_of(str(tmp_path / name)) == "problems"


def test_a_first_row_longer_than_any_block(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LONG * 2, encoding="utf-8")
    assert kind_of(str(tmp_path / "a.jsonl")) == "problems"


@pytest.mark.parametrize("stray", ["logo.png", "figures/plot.JPG", "beep.wav"])
@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("train.jsonl", PROBLEMS, "problems"), ("a.csv", REGRESSION, "regression"), ("a.csv", TEXT, "text")],
)
def test_one_stray_picture_beside_tables(
    tmp_path: Path, stray: str, name: str, content: str, kind: str
) -> None:
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    (tmp_path / stray).write_bytes(b"x")
    (tmp_path / name).write_text(content)
    assert kind_of(str(tmp_path)) == kind


@pytest.mark.parametrize(
    "table", ["file_name,text\na.png,a cat\n", "file_name,label\na.png,cat\n", "name,note\nx,y\n"]
)
def test_pictures_that_a_table_names_or_that_are_many_are_data(tmp_path: Path, table: str) -> None:
    (tmp_path / "metadata.csv").write_text(table)
    for number in range(1 if "a.png" in table else 20):
        (tmp_path / ("a.png" if not number else f"{number}.png")).write_bytes(b"x")
    assert kind_of(str(tmp_path)) == "images"
