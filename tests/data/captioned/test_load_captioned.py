"""Captioned images: tables in all their forms, several captions an image, wrong ones, items of Winoground's and ARO's forms."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from counterpoint.data.captioned.digit_pairs import digit_pairs
from counterpoint.data.captioned.load import load_captioned
from counterpoint.errors import CounterpointError
from counterpoint.tasks.captioned import TASK
from counterpoint.tasks.recognise import kind_of

Image = pytest.importorskip("PIL.Image")


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty pictures of three sizes and modes in images/, with a caption and a wrong one each."""
    (tmp_path / "images").mkdir()
    g, rows = np.random.default_rng(0), []
    for n in range(30):
        shape, mode = (((20, 16, 3), "RGB"), ((16, 24, 4), "RGBA"), ((16, 16), "L"))[n % 3]
        Image.fromarray(g.integers(0, 256, shape, dtype=np.uint8), mode).save(tmp_path / f"images/{n}.png")
        rows.append({"image": f"{n}.png", "caption": f"a {n} on b", "negatives": [f"b on a {n}"]})
    lines(tmp_path / "rows.jsonl", rows)
    return tmp_path


def test_rows_become_items_with_captions_and_wrong_ones(folder: Path) -> None:
    more = [{"image": "3.png", "caption": "the third", "negatives": "the fourth"}]
    with (folder / "rows.jsonl").open("a") as file:
        file.write(json.dumps(more[0]) + "\n")
    data = load_captioned(folder / "rows.jsonl", size=12)
    assert data.shape == (3, 12, 12)
    assert sum(len(part) for part in data.splits().values()) == 30
    found = {
        row[0]: (row, wrong)
        for part in data.splits().values()
        for row, wrong in zip(part.captions, part.negatives)
    }
    assert found["a 3 on b"] == (("a 3 on b", "the third"), ("b on a 3", "the fourth"))
    assert "the fourth" in data.texts()
    assert kind_of(str(folder / "rows.jsonl")) == "captioned"
    shown = " ".join(data.describe())
    assert "nearly right, such as 'b on a" in shown
    assert load_captioned(folder / "rows.jsonl", size=12).fingerprint() == data.fingerprint()
    assert load_captioned(folder / "rows.jsonl", size=12, seed=1).fingerprint() != data.fingerprint()
    few = load_captioned(folder / "rows.jsonl", size=12, limit=5, evaluation_limit=2)
    assert [len(part) for part in few.splits().values()] == [5, 2, 2]


def test_splits_that_are_named_are_kept_and_columns_may_be(folder: Path) -> None:
    rows = [
        {"picture": f"{n}.png", "words": f"w{n}", "split": ("train", "val", "test")[n % 3]} for n in range(30)
    ]
    path = lines(folder / "own.jsonl", rows)
    data = load_captioned(path, image="picture", caption="words", size=8)
    assert [len(part) for part in data.splits().values()] == [10, 10, 10]
    assert all(int(row[0][1:]) % 3 == 2 for row in data.test.captions)
    assert "no wrong captions" in " ".join(data.describe())


def test_parquet_with_bytes(folder: Path) -> None:
    cells = []
    for n in range(12):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8), 20 * n, np.uint8)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": f"{n}.png"})
    pq.write_table(
        pa.table({"image": cells, "caption": [f"grey {n}" for n in range(12)]}), folder / "x.parquet"
    )
    data = load_captioned(folder / "x.parquet")
    values = {
        row[0]: int(pixels[0, 0, 0])
        for part in data.splits().values()
        for row, pixels in zip(part.captions, part.pixels)
    }
    assert values == {f"grey {n}": 20 * n for n in range(12)}


def test_winograd_items(folder: Path) -> None:
    """The hub's form: names without endings below images/."""
    rows = [
        {
            "id": n,
            "image_0": f"{2 * n}",
            "image_1": f"{2 * n + 1}",
            "caption_0": f"a {n}",
            "caption_1": f"{n} a",
            "tag": "Object",
        }
        for n in range(4)
    ]
    data = load_captioned(
        folder / "rows.jsonl", size=12, winoground=str(lines(folder / "examples.jsonl", rows))
    )
    items = data.winoground
    assert items is not None
    assert items.pixels.shape == (4, 2, 3, 12, 12)
    assert items.captions[3] == ("a 3", "3 a")
    assert items.tags == ("Object",) * 4
    by_caption = {
        row[0]: pixels for part in data.splits().values() for row, pixels in zip(part.captions, part.pixels)
    }
    assert torch.equal(items.pixels[1, 1], by_caption["a 3 on b"])
    assert "4 items of two images" in " ".join(data.describe())


def test_aro_items_are_cut_to_their_boxes(folder: Path) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[4:12, 6:14] = 200
    Image.fromarray(pixels).save(folder / "images" / "scene.png")
    box = {"bbox_x": 6, "bbox_y": 4, "bbox_w": 8, "bbox_h": 8}
    rows = [
        {
            "image_path": "scene.png",
            "true_caption": "a on b",
            "false_caption": "b on a",
            "relation_name": "on",
            **box,
        },
        {
            "image_path": "1.png",
            "true_caption": "red a",
            "false_captions": ["red b", "b a"],
            "attributes": ["red", "blue"],
        },
    ]
    (folder / "aro.json").write_text(json.dumps(rows))
    data = load_captioned(
        folder / "rows.jsonl", size=8, aro=str(folder / "aro.json"), images=str(folder / "images")
    )
    items = data.aro
    assert items is not None
    assert (items.pixels[0] == 200).all()
    assert items.false == (("b on a",), ("red b", "b a"))
    assert items.groups == ("on", "red blue")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"caption": ""}, {}, "empty caption"),
        ({"image": "none.png"}, {}, "no image 'none.png'"),
        ({"image": None}, {}, "no image; name one"),
        ({"negatives": ["A 0 ON B"]}, {}, "is a caption and a wrong caption"),
        ({}, {"caption": "words"}, "no column 'words'"),
        ({}, {"image": "picture"}, "no column 'picture'"),
        ({}, {"winoground": "rows.jsonl"}, "without image_0"),
        ({}, {"aro": "none.json"}, "no such file"),
        ({}, {"aro": "wrong.jsonl"}, "captions that are wrong"),
        ({}, {"winoground": "same.jsonl"}, "both captions"),
        ({}, {"validation": 1.5}, "expected shares"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], options: dict[str, Any], message: str) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows[0] |= change
    lines(folder / "rows.jsonl", rows)
    lines(folder / "wrong.jsonl", [{"image_path": "1.png", "true_caption": "a", "false_caption": "a"}])
    lines(
        folder / "same.jsonl", [{"image_0": "0.png", "image_1": "1.png", "caption_0": "a", "caption_1": "a"}]
    )
    with pytest.raises(CounterpointError, match=message):
        TASK.load_data("rows.jsonl", **options)


def test_files_that_are_no_images(folder: Path) -> None:
    (folder / "images" / "2.png").write_bytes(b"no picture")
    with pytest.raises(CounterpointError, match="unreadable=skip"):
        load_captioned(folder / "rows.jsonl", size=8)
    data = load_captioned(folder / "rows.jsonl", size=8, unreadable="skip")
    assert sum(len(part) for part in data.splits().values()) == 29
    with pytest.raises(CounterpointError, match="does not exist"):
        load_captioned(folder / "none.jsonl")


def test_digit_pairs_are_the_same_words_in_two_orders() -> None:
    data = digit_pairs(pairs=50, items=6)
    assert data.shape == (1, 16, 16)
    for part in data.splits().values():
        for (text,), (wrong,) in zip(part.captions, part.negatives):
            left, right = text.split(" left of ")
            assert wrong == f"{right} left of {left}"
            assert left != right
    items = data.winoground
    assert items is not None
    assert torch.equal(items.pixels[:, 0, :, 4:12, :8], items.pixels[:, 1, :, 4:12, 8:])
    assert torch.equal(items.pixels[:, 0, :, 4:12, 8:], items.pixels[:, 1, :, 4:12, :8])
    flipped = digit_pairs(pairs=50, items=6, order="random")
    assert torch.equal(flipped.train.pixels, data.train.pixels)
    same = sum(a == b for a, b in zip(flipped.train.captions, data.train.captions))
    assert 10 < same < 40
    assert flipped.test.captions == data.test.captions
    with pytest.raises(CounterpointError, match="at least 20 pairs"):
        TASK.load_data("digit-pairs", pairs=3)
