"""Rows under their own numbers and files, a column that names splits, the hint of spreadsheets; in every kind that reads tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from counterpoint.data.audio.load import load_audio
from counterpoint.data.images.load import load_images
from counterpoint.data.language import preferences, problems
from counterpoint.data.regression.load import load_regression
from counterpoint.data.tables import read_splits, read_table, row_at
from counterpoint.data.text.load import load_texts
from counterpoint.errors import CounterpointError

NAMES = ["train", " Test ", "VALID", "training"]


def lines(path: Path, rows: list[dict[str, object]], blank: int | None = None) -> Path:
    """JSON lines, with blank lines before one row."""
    texts = [("\n \n" if number == blank else "") + json.dumps(row) for number, row in enumerate(rows)]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def texts(count: int = 40) -> list[dict[str, object]]:
    return [{"text": f"text {n} of all", "label": "ab"[n % 2]} for n in range(count)]


def test_rows_of_json_lines_are_their_lines(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", texts(), blank=3)
    table = read_table(path)
    assert [table.number(index) for index in (2, 3, 39)] == [3, 6, 42]
    bad = lines(tmp_path / "b.jsonl", [*texts(5), {"text": 7, "label": "a"}, *texts()], blank=3)
    with pytest.raises(CounterpointError, match=r"b\.jsonl, row 8: the text in column 'text' is 7 "):
        load_texts(bad)


@pytest.mark.parametrize(
    ("load", "good", "bad"),
    [
        (load_texts, {"text": "words here", "label": "a"}, {"text": ["x"] * 1000, "label": "b"}),
        (load_texts, {"text": "words here", "label": "a"}, {"text": "x", "label": {"y": 1}}),
        (problems.load, {"prompt": "1+1", "answer": "2"}, {"prompt": 7, "answer": "2"}),
        (preferences.load, {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": None, "rejected": "c"}),
        (load_regression, {"x": 1.0, "target": 2.0}, {"x": 1.0, "target": "much"}),
        (load_regression, {"x": 1.0, "target": 2.0}, {"x": float("inf"), "target": 1.0}),
        (load_regression, {"x": 1.0, "target": 2.0}, {"x": None, "target": 1.0}),
    ],
)  # fmt: skip
def test_of_several_files_the_one_with_the_row_is_named(tmp_path, load, good, bad) -> None:
    lines(tmp_path / "test.jsonl", [good] * 30)
    lines(tmp_path / "train.jsonl", [good] * 30 + [bad] + [good] * 5)
    with pytest.raises(CounterpointError, match=r"train\.jsonl, row 31\b") as refused:
        load(tmp_path)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_column_of_splits_is_followed(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": f"text {n} of all", "label": "ab"[n // 4 % 2], "Split": NAMES[n % 4]} for n in range(64)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".jsonl":
        lines(path, rows)
    elif suffix == ".csv":
        path.write_text(
            "text,label,Split\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)
        )
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    data = load_texts(path)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 16, 16)
    assert set(data.test.texts) == {f"text {n} of all" for n in range(1, 64, 4)}
    assert read_splits(path)["test"][0].where(1) == f"{path}, row 6"
    assert "Split" not in read_splits(path)["train"][0].names


def test_the_same_in_the_other_kinds(tmp_path: Path) -> None:
    split = [NAMES[n % 4] for n in range(64)]
    found = problems.load(
        lines(
            tmp_path / "p.jsonl",
            [{"prompt": f"{n}?", "answer": f"{n}", "split": split[n]} for n in range(64)],
        )
    )
    assert {row.prompt for row in found.test} == {f"{n}?" for n in range(1, 64, 4)}
    pairs = preferences.load(lines(tmp_path / "q.jsonl", [
        {"prompt": f"{n}?", "chosen": "yes", "rejected": "no", "split": split[n]} for n in range(64)
    ]))  # fmt: skip
    assert len(pairs.validation) == 16
    numbers = load_regression(
        lines(tmp_path / "r.jsonl", [{"x": n % 7, "target": n, "split": split[n]} for n in range(64)])
    )
    assert numbers.columns == ("x",)
    assert sorted(numbers.test.targets.tolist()) == list(range(1, 64, 4))


@pytest.mark.parametrize("value", ["", None, "rest", 3])
def test_a_row_without_a_split_is_named(tmp_path: Path, value: object) -> None:
    rows = [{**row, "split": "train" if n % 2 else "test"} for n, row in enumerate(texts())]
    rows[16]["split"] = value
    with pytest.raises(CounterpointError, match=r"row 17: the column 'split' holds"):
        load_texts(lines(tmp_path / "a.jsonl", rows))


def test_a_column_called_split_that_is_none_is_data(tmp_path: Path) -> None:
    rows = [{"x": n % 7, "split": f"part {n % 3}", "target": n} for n in range(40)]
    assert "split=part 1" in load_regression(lines(tmp_path / "a.jsonl", rows)).columns
    with pytest.raises(CounterpointError, match="did you mean 'train'"):
        load_regression(lines(tmp_path / "b.jsonl", [{**row, "split": "trian"} for row in rows]))


def test_files_with_and_without_a_column_of_splits(tmp_path: Path) -> None:
    lines(tmp_path / "one.jsonl", [{**row, "split": "train"} for row in texts()])
    lines(tmp_path / "two.jsonl", texts())
    with pytest.raises(CounterpointError, match=r"two\.jsonl has no column 'split'"):
        load_texts(tmp_path)


def test_pictures_and_sounds_by_a_table(tmp_path: Path) -> None:
    from PIL import Image

    soundfile = pytest.importorskip("soundfile")
    random = np.random.default_rng(0)
    for n in range(25):
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        soundfile.write(tmp_path / f"{n}.wav", random.normal(size=4000).astype(np.float32) / 9, 16000)
    head, rows = "file_name,label,split\n", [f"{n}.{{}},{n % 2}.0,{NAMES[n % 4]}" for n in range(24)]
    for suffix, load, name in (("png", load_images, "images"), ("wav", load_audio, "audio")):
        table = tmp_path / suffix
        table.mkdir()
        for file in tmp_path.glob(f"*.{suffix}"):
            file.rename(table / file.name)
        text = head + "\n".join(rows).format(*[suffix] * 24)
        (table / "metadata.csv").write_bytes("\ufeff".encode() + text.encode())
        data = load(table)
        assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 6), name
        assert any("byte-order mark" in line for line in data.describe())
        assert any(
            f"1 {'image' if suffix == 'png' else 'sound file'} stands in no row of the metadata" in line
            for line in data.describe()
        )
        (table / "metadata.csv").write_text(text.replace("VALID", "holdout", 1))
        with pytest.raises(
            CounterpointError, match=r"metadata\.csv, row 3: the column 'split' holds 'holdout'"
        ):
            load(table)
    (tmp_path / "png" / "metadata.csv").write_text("file_name,label\n0.png,a\n,b\n")
    with pytest.raises(CounterpointError, match=r"metadata\.csv, row 2: no image in the column 'file_name'"):
        load_images(tmp_path / "png")


def test_the_first_line_by_which_spreadsheets_are_told_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"sep=;\r\ntext;label\r\none, two;a\r\nthree;b\r\n")
    table = read_table(path)
    assert list(table.rows()) == [{"text": "one, two", "label": "a"}, {"text": "three", "label": "b"}]
    assert table.where(1) == f"{path}, row 2"


def test_a_row_by_its_position_over_several_files(tmp_path: Path) -> None:
    tables = [read_table(lines(tmp_path / f"{name}.jsonl", texts(3))) for name in "ab"]
    assert row_at(tables, 4) == f"{tmp_path / 'b.jsonl'}, row 2"
    with pytest.raises(IndexError):
        row_at(tables, 6)
