"""Pairs that stay on disk are the pairs in memory: same users, items, splits and notes, from every format that can."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

import counterpoint
from counterpoint.data import row_numbers
from counterpoint.data.interactions import load, rows, streamed
from counterpoint.data.interactions.load import Interactions, load_interactions
from counterpoint.errors import CounterpointError

Cells = list[dict[str, Any]]


def made(seed: int = 0, count: int = 400) -> Cells:
    """Rows with repeated pairs, equal times, rare users and a few ratings below the others."""
    draw = random.Random(seed)
    return [
        {
            "user_id": f"u{int(draw.paretovariate(0.7)) % 23}",
            "item_id": draw.randrange(60) + 100,
            "rating": draw.choice([1, 3, 4, 5]),
            "timestamp": draw.randrange(900) + 881250000,
        }
        for _ in range(count)
    ]


def parquet(folder: Path, given: Cells) -> Path:
    pyarrow.parquet.write_table(pa.Table.from_pylist(given), folder / "x.parquet", row_group_size=7)
    return folder / "x.parquet"


def jsonl(folder: Path, given: Cells) -> Path:
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    return folder / "x.jsonl"


def delimited(folder: Path, given: Cells, mark: str = ",", name: str = "x.csv", header: bool = True) -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=mark)
        writer.writerows([[*given[0]]] * header + [[*row.values()] for row in given])
    return folder / name


def bare(folder: Path, given: Cells) -> Path:
    return delimited(folder, given, "\t", "u.data", header=False)


def dated(folder: Path, given: Cells) -> Path:
    return delimited(
        folder, [{**row, "timestamp": f"1997-12-{row['timestamp'] % 28 + 1:02d} 10:00"} for row in given]
    )


def saved(folder: Path, given: Cells) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(given).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def parts(folder: Path, given: Cells) -> Path:
    (folder / "parts").mkdir()
    for name, some in (("train", given[:300]), ("test", given[300:])):
        parquet(folder / "parts", some).rename(folder / "parts" / f"{name}.parquet")
    return folder / "parts"


def column(folder: Path, given: Cells) -> Path:
    names = ("test", "train", "validation", "train", "train")
    return delimited(folder, [{**row, "split": names[n % 5]} for n, row in enumerate(given)])


FORMATS: list[Callable[[Path, Cells], Path]] = [
    parquet, jsonl, delimited, bare, dated, saved, parts, column,
]  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {}, {"threshold": 4, "core": 3}, {"split": "time", "split_seed": 3}, {"split": "last", "test": 0.3}, {"validation": 0.0},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own; and parts of few rows, so that there are many."""
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(row_numbers, "PART", 37)


def both(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Interactions, Interactions]:
    """From memory, in one piece, and from disk, in many."""
    memory = load_interactions(path, rows="memory", **options)
    with monkeypatch.context() as small:
        small.setattr(streamed, "BATCH", 64)
        small.setattr(rows, "BUCKET", 50)
        small.setattr(load, "read_table", lambda *_: pytest.fail("a file was read whole"))
        small.setattr(load, "read_saved", lambda *_: pytest.fail("a folder was read whole"))
        return memory, load_interactions(path, rows="disk", **options)


def equal(memory: Interactions, disk: Interactions) -> None:
    assert disk.users == memory.users
    assert disk.items == memory.items
    for name in ("train", "validation", "test"):
        one, other = getattr(memory, name), getattr(disk, name)
        assert torch.equal(one.users, other.users)
        assert torch.equal(one.items, other.items)
        assert other.users.dtype == torch.int64
    assert disk.describe() == memory.describe()
    assert disk.fingerprint() == memory.fingerprint()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("write", FORMATS)
def test_the_same_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, options: dict[str, Any]
) -> None:
    equal(*both(write(tmp_path, made()), monkeypatch, **options))


def test_what_is_read_again_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, made())
    memory, first = both(path, monkeypatch)
    assert not list((tmp_path / "cache").rglob("scratch-*"))
    monkeypatch.setattr(load, "read", lambda *_: pytest.fail("the file was read again"))
    equal(first, load_interactions(path, rows="disk"))
    parquet(tmp_path, made(1))
    monkeypatch.undo()
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    assert load_interactions(path, rows="disk").fingerprint() != memory.fingerprint()


def ids_with_points(row: dict[str, Any]) -> None:
    row["item_id"] = f"{row['item_id']}.0"


def commas(row: dict[str, Any]) -> None:
    row["rating"] = f"{row['rating']},5"


@pytest.mark.parametrize("change", [ids_with_points, commas])
def test_what_all_of_a_column_decides_is_read_whole(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    given = made()
    for row in given:
        change(row)
    path = jsonl(tmp_path, given)
    equal(load_interactions(path, rows="memory"), load_interactions(path, rows="disk"))


@pytest.mark.parametrize(
    "last", [{"user_id": ""}, {"rating": "x"}, {"timestamp": "1997-12-04"}, {"item_id": None}], ids=str
)
def test_what_is_wrong_is_named_alike(tmp_path: Path, last: dict[str, Any]) -> None:
    path = delimited(tmp_path, [*made(), {**made()[0], **last}])
    lines = []
    for held in ("memory", "disk"):
        with pytest.raises(CounterpointError) as error:
            load_interactions(path, rows=held)
        lines.append(str(error.value))
    assert lines[0] == lines[1]
    assert not [each for each in (tmp_path / "cache" / "converted").iterdir() if each.is_dir()]


def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    path = parquet(tmp_path, made())
    for held in ("memory", "disk"):
        counterpoint.run(
            "lightgcn", data=str(path), model="embeddings-8", out=tmp_path / held, steps=4, progress=False,
            data_options={"rows": held},
        )  # fmt: skip
    one, other = (
        (tmp_path / held / "model" / "model.safetensors").read_bytes() for held in ("memory", "disk")
    )
    assert one == other
    results = [json.loads((tmp_path / held / "result.json").read_text()) for held in ("memory", "disk")]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["data"]["fingerprint"] == results[1]["data"]["fingerprint"]
