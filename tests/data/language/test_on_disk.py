"""Rows that stay on disk are the rows in memory: the same splits, order, messages and errors, from every format that can."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import counterpoint
from counterpoint.data import row_numbers
from counterpoint.data.language import preferences, problems
from counterpoint.data.language.stored_rows import StoredRows, counted_again
from counterpoint.errors import CounterpointError

PROBLEMS: list[dict[str, Any]] = [
    {"prompt": f"{n % 90}+1=", "completion": f"that is {n % 90 + 1}", "answer": str(n % 90 + 1)}
    for n in range(100)
]
TALKS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"{n}+1=?\u2028"},
            {"role": "assistant", "content": f"{n + 1}"},
            {"role": "user", "content": "sure?"},
            {"role": "assistant", "content": "yes"},
        ]
    }
    for n in range(60)
]
PAIRS: list[dict[str, Any]] = [
    {"prompt": f"{n % 50}?", "chosen": "yes" if n % 7 else "no", "rejected": "no", "margin": float(n)}
    for n in range(80)
]


def jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "x.jsonl"
    # Blank lines, spaces around a row, and no line feed at the end: rows keep the numbers of their lines.
    path.write_text(
        "\n".join(
            "\n  " + json.dumps(row) + " " if n % 9 == 4 else json.dumps(row) for n, row in enumerate(rows)
        )
    )
    return path


def parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / "x.parquet", row_group_size=7)
    return folder / "x.parquet"


def shards(folder: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    (folder / "shards").mkdir()
    for number in range(3):
        part = pa.Table.from_pylist(rows[number::3])
        pyarrow.parquet.write_table(part, folder / "shards" / f"data-{number:05d}-of-00003.parquet")
    return folder / "shards"


def saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def split_folder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "parts").mkdir()
    for name, part in (("train", rows[20:]), ("validation", rows[:10]), ("test", rows[10:20])):
        (folder / "parts" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    return folder / "parts"


def column(folder: Path, rows: list[dict[str, Any]]) -> Path:
    names = ("train", "train", "test", "validation")
    return jsonl(folder, [{"split": names[n % 4], **row} for n, row in enumerate(rows)])


FORMATS: list[Callable[[Path, list[dict[str, Any]]], Path]] = [
    jsonl,
    parquet,
    shards,
    saved,
    split_folder,
    column,
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(row_numbers, "PART", 13)


def equal(memory: Any, disk: Any) -> None:
    for name in ("train", "validation", "test"):
        one, other = getattr(memory, name), getattr(disk, name)
        assert isinstance(other.rows, StoredRows)
        assert not isinstance(one.rows, StoredRows)
        assert list(one) == list(other)
        assert len(one) == len(other)
        assert [row.origin for row in one] == [row.origin for row in other]
        if not len(one):
            continue
        index = torch.tensor([len(one) - 1, 0, len(one) // 2])
        assert one[index] == other[index]
        assert one[1:4] == other[1:4]
        assert one[-1] == other[-1]
    assert [line.replace("; they stay on disk", "") for line in disk.describe()] == memory.describe()


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("rows", [PROBLEMS, TALKS], ids=["problems", "talks"])
def test_problems(tmp_path: Path, write: Any, rows: list[dict[str, Any]]) -> None:
    path = write(tmp_path, rows)
    memory = problems.load(path, rows="memory")
    disk = problems.load(path, rows="disk")
    equal(memory, disk)
    assert disk.train.scorer == memory.train.scorer
    assert disk.fingerprint() == problems.load(path, rows="disk").fingerprint()


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(
    "options", [{}, {"format": "chat"}, {"max_characters": 5}, {"ties": "keep"}], ids=str
)
def test_preferences(tmp_path: Path, write: Any, options: dict[str, Any]) -> None:
    path = write(tmp_path, PAIRS)
    memory = preferences.load(path, rows="memory", **options)
    equal(memory, preferences.load(path, rows="disk", **options))


def test_what_is_read_again_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path, PROBLEMS)
    first = problems.load(path, rows="disk")
    read = []
    monkeypatch.setattr(
        "counterpoint.data.language.problems.parse",
        lambda *given: read.append(given) or pytest.fail("a row was understood again"),
    )
    assert problems.load(path, rows="disk").fingerprint() == first.fingerprint()
    assert not read


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = jsonl(tmp_path, PROBLEMS)
    first = problems.load(path, rows="disk")
    jsonl(tmp_path, [{**row, "completion": row["completion"].replace("that", "this")} for row in PROBLEMS])
    again = problems.load(path, rows="disk")
    assert again.fingerprint() != first.fingerprint()
    assert again.train[0].solution.startswith("this")


def test_which_rows_are_meant_is_in_the_fingerprint(tmp_path: Path) -> None:
    path = jsonl(tmp_path, PROBLEMS)
    of = {
        problems.load(path, rows="disk", **options).fingerprint()
        for options in (
            {},
            {"test": 0.3},
            {"max_characters": 13},
            {"format": "chat"},
            {"answer": "completion"},
        )
    }
    assert len(of) == 5


@pytest.mark.parametrize("bad", ['{"prompt": "1"', '{"prompt": "1", "prompt": "2"}', '"text"', '{"else": 1}'])
def test_what_is_wrong_is_named_when_the_file_is_opened(tmp_path: Path, bad: str) -> None:
    path = jsonl(tmp_path, PROBLEMS)
    path.write_text(path.read_text() + "\n" + bad)
    texts = []
    for rows in ("memory", "disk"):
        with pytest.raises(CounterpointError) as error:
            problems.load(path, rows=rows)
        texts.append(str(error.value))
    assert texts[0] == texts[1]
    assert not [each for each in (tmp_path / "cache" / "converted").iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_rows_is_refused_alike(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    for rows in ("memory", "disk"):
        with pytest.raises(CounterpointError, match="holds no rows"):
            problems.load(tmp_path / "x.jsonl", rows=rows)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "file"))
    with pytest.raises(CounterpointError, match="COUNTERPOINT_CACHE"):
        problems.load(jsonl(tmp_path, PROBLEMS), rows="disk")


def test_rankings_cannot_stay(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"prompt": "1?", "completions": ["a", "b"]}])
    with pytest.raises(CounterpointError, match="rows=memory"):
        preferences.load(path, rows="disk")


def test_other_encodings_are_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, PROBLEMS)), encoding="utf-16")
    assert not isinstance(problems.load(path, rows="disk").train.rows, StoredRows)


def test_auto_goes_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, PROBLEMS)
    assert not isinstance(problems.load(path).train.rows, StoredRows)
    monkeypatch.setattr("counterpoint.data.tables.read.LARGE", 1000)
    assert isinstance(problems.load(path).train.rows, StoredRows)


@pytest.mark.parametrize("key", ["sft", pytest.param("dpo", marks=pytest.mark.slow)])
def test_training_ends_with_the_same_bits(tmp_path: Path, key: str) -> None:
    path = parquet(tmp_path, PAIRS)
    for rows in ("memory", "disk"):
        counterpoint.run(
            key, data=str(path), model="characters", out=tmp_path / rows, steps=3, evaluate=False,
            data_options={"rows": rows}, progress=False, settings={"lora_rank": 0, "batch_size": 4},
        )  # fmt: skip
    one, other = (
        (tmp_path / rows / "model" / "model.safetensors").read_bytes() for rows in ("memory", "disk")
    )
    assert one == other


def test_a_change_is_counted_anew_of_the_rows_that_are_left(tmp_path: Path) -> None:
    path = jsonl(tmp_path, PROBLEMS)
    data = problems.load(path, rows="disk")
    left = data.train.rows.select(range(3, len(data.train), 2))
    expected = [replace(row, prompt=row.prompt + "!!") for row in left]
    changed = counted_again(
        left.changed("louder", lambda row: replace(row, prompt=row.prompt + "!!")), problems.LOOK
    )
    assert list(changed) == expected
    assert changed.facts["prompt"].tolist() == [len(row.prompt) for row in expected]
    again = changed.select([5, 2])
    assert list(again) == [expected[5], expected[2]]
    assert again.facts["key"].tolist() == changed.facts["key"][[5, 2]].tolist()
    assert again.digest() != changed.digest()


def test_a_row_that_stays_on_disk_costs_its_number(tmp_path: Path) -> None:
    held = problems.load(parquet(tmp_path, PROBLEMS), rows="disk").train.rows
    own = [value for value in vars(held).values() if isinstance(value, np.ndarray) and value.base is None]
    assert held.facts.at.nbytes == 4 * len(held)
    assert isinstance(held.facts.every, np.memmap)
    assert sum(value.nbytes for value in own) < 4 * len(held)
