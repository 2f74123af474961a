"""Texts that stay on disk are the texts in memory: same splits, labels, identity and errors, and training ends with the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

import counterpoint
from counterpoint.data import row_numbers
from counterpoint.data.text.load import Texts, load_texts
from counterpoint.data.text.stored_texts import StoredTexts
from counterpoint.errors import CounterpointError
from texts_made_up import rows

Table = list[dict[str, Any]]


def made() -> Table:
    """Texts with copies that differ in case and blanks, blanks around them, and some without a label."""
    table: Table = [{**row, "text": f" {row['text']}\n"} for row in rows(90)]
    table += [{**row, "text": row["text"].upper().replace(" ", "  ")} for row in table[::4]]
    return [{**row, "label": None} if n % 11 == 5 else row for n, row in enumerate(table)]


def jsonl(folder: Path, table: Table) -> Path:
    (folder / "x.jsonl").write_text("\n\n".join(map(json.dumps, table)))
    return folder / "x.jsonl"


def parquet(folder: Path, table: Table) -> Path:
    pyarrow.parquet.write_table(pa.Table.from_pylist(table), folder / "x.parquet", row_group_size=7)
    return folder / "x.parquet"


def saved(folder: Path, table: Table) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(table).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def parts(folder: Path, table: Table) -> Path:
    (folder / "parts").mkdir()
    for name, some in (("train", table[20:]), ("test", table[:20])):
        jsonl(folder / "parts", some).rename(folder / "parts" / f"{name}.jsonl")
    return folder / "parts"


def column(folder: Path, table: Table) -> Path:
    names = ("train", "test", "train", "validation")
    return parquet(folder, [{"split": names[n % 4], **row} for n, row in enumerate(table)])


def several(folder: Path, table: Table) -> Path:
    lists = [
        {**row, "label": [row["label"], "all"][: 1 + n % 2] if row["label"] else []}
        for n, row in enumerate(table)
    ]
    return jsonl(folder, lists)


FORMATS: list[Callable[[Path, Table], Path]] = [jsonl, parquet, saved, parts, column, several]
OPTIONS: list[dict[str, Any]] = [
    {}, {"words": 2, "seed": 3}, {"labelled": 0.5, "limit": 40}, {"label": "none"}, {"untested": "1,2"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(row_numbers, "PART", 13)


def equal(memory: Texts, disk: Texts) -> None:
    assert (disk.classes, disk.sizes, disk.multi_label) == (memory.classes, memory.sizes, memory.multi_label)
    for name, one in memory.splits().items():
        other = disk.splits()[name]
        assert isinstance(other.texts, StoredTexts)
        assert not isinstance(one.texts, StoredTexts)
        assert list(other.texts) == list(one.texts)
        assert other.texts[-2:] == list(one.texts[-2:])
        assert torch.equal(other.targets, one.targets)
        assert torch.equal(other.labelled, one.labelled)
        some = torch.tensor([len(one) - 1, 0, 2])
        assert list(other[some].texts) == list(one[some].texts)
        assert other.words().tolist() == one.words().tolist()
    assert disk.describe() == memory.describe()
    assert disk.fingerprint() == memory.fingerprint()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("write", FORMATS)
def test_the_same_texts(tmp_path: Path, write: Any, options: dict[str, Any]) -> None:
    path = write(tmp_path, made())
    equal(load_texts(path, rows="memory", **options), load_texts(path, rows="disk", **options))


def test_empty_ones_are_left_out_alike(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{**row, "text": " "} if n % 9 == 2 else row for n, row in enumerate(made())])
    equal(*(load_texts(path, rows=held, empty="skip") for held in ("memory", "disk")))


def test_what_is_read_again_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, made())
    first = load_texts(path, rows="disk")
    digest = first.fingerprint()
    monkeypatch.setattr(StoredTexts, "__iter__", lambda _: pytest.fail("all texts were read"))
    monkeypatch.setattr(
        "counterpoint.data.text.stored_texts.text_key", lambda _: pytest.fail("a text was counted again")
    )
    again = load_texts(path, rows="disk")
    assert again.fingerprint() == digest
    assert again.describe() == first.describe()


@pytest.mark.parametrize("bad", [{"text": 3}, {"label": {"a": 1}}, {"text": ""}], ids=str)
def test_what_is_wrong_is_named_alike(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = jsonl(tmp_path, [*made(), {**made()[0], **bad}])
    lines = []
    for held in ("memory", "disk"):
        with pytest.raises(CounterpointError) as error:
            load_texts(path, rows=held)
        lines.append(str(error.value))
    assert lines[0] == lines[1]


def test_a_text_that_stays_on_disk_costs_its_number_and_its_targets(tmp_path: Path) -> None:
    train = load_texts(parquet(tmp_path, made()), rows="disk").train
    own = [
        value for value in vars(train.texts).values() if isinstance(value, np.ndarray) and value.base is None
    ]
    assert sum(value.nbytes for value in own) <= 4 * len(train) + 100
    assert train.targets.element_size() == 1


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("text-classifier", {}),
        pytest.param("contrastive-primer", {"mix": 0.5}, marks=pytest.mark.slow),
        pytest.param("contrastive-primer", {"objective": "supcon", "hide": 0.2}, marks=pytest.mark.slow),
    ],
)
def test_training_ends_with_the_same_bits(tmp_path: Path, key: str, settings: dict[str, Any]) -> None:
    path = parquet(tmp_path, made())
    for held in ("memory", "disk"):
        counterpoint.run(
            key, data=str(path), model="words", out=tmp_path / held, steps=5, progress=False, data_options={"rows": held},
            settings={"batch_size": 8, **settings},
        )  # fmt: skip
    one, other = (sorted((tmp_path / held / "model").rglob("*.safetensors")) for held in ("memory", "disk"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]
    results = [json.loads((tmp_path / held / "result.json").read_text()) for held in ("memory", "disk")]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["data"]["fingerprint"] == results[1]["data"]["fingerprint"]
