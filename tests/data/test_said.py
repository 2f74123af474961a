"""What is read in a way that a person may not expect is said: classes that differ in case, columns of dates, parts of saved folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterpoint.data.audio.load import load_audio
from counterpoint.data.images.load import load_images
from counterpoint.data.regression.load import load_regression
from counterpoint.data.tables import read_splits
from counterpoint.data.tables.cells import near_twins
from counterpoint.data.text.load import load_texts
from counterpoint.errors import CounterpointError
from counterpoint.prediction.sources import _folder
from counterpoint.tasks.recognise import kind_of

APART = "differ only in case or blanks and are held apart"


@pytest.mark.parametrize(
    ("names", "twins"),
    [
        (["Cat", "cat"], ["'Cat', 'cat'"]),
        (["ice cream", "ice_cream", "Ice-Cream", "tea"], ["'Ice-Cream', 'ice cream', 'ice_cream'"]),
        (["straße", "STRASSE"], ["'STRASSE', 'straße'"]),
        (["cafe\u0301", "caf\u00e9"], ["'cafe\u0301', 'caf\u00e9'"]),
        (["a", "A", "b", "B"], ["'A', 'a'", "'B', 'b'"]),
        (["cat", "cats"], []),
        (["-1", "1", "1.0"], []),
    ],
)
def test_names_that_a_person_reads_as_one(names: list[str], twins: list[str]) -> None:
    notes = near_twins(names)
    assert len(notes) == bool(twins)
    assert all(twin in notes[0] for twin in twins)


def test_class_folders_and_columns(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("Cat", "cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for n in range(8):
            pixels = draw.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{n}.png")
    data = load_images(tmp_path / "pictures")
    assert len(data.classes) == 3
    assert any(f"classes 'Cat', 'cat' {APART}" in line for line in data.describe())
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"a text {n},{('Good', 'good', 'bad')[n % 3]}\n" for n in range(30))
    )
    assert any(
        f"classes 'Good', 'good' {APART}" in line for line in load_texts(tmp_path / "a.csv").describe()
    )
    (tmp_path / "b.csv").write_text(
        "x,town,target\n" + "".join(f"{n},{('Rome', 'ROME', 'Oslo')[n % 3]},{n % 7}\n" for n in range(30))
    )
    notes = load_regression(tmp_path / "b.csv").notes
    assert any(f"column 'town': names 'ROME', 'Rome' {APART}" in note for note in notes)


def test_labels_of_clips(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    draw = np.random.default_rng(0)
    for n in range(30):
        soundfile.write(tmp_path / f"{n}.wav", draw.normal(size=1600) * 0.1, 16000)
    rows = "".join(f"{n}.wav,{('yes', 'Yes', 'no')[n % 3]}\n" for n in range(30))
    (tmp_path / "clips.csv").write_text("file,label\n" + rows)
    data = load_audio(str(tmp_path / "clips.csv"), sample_rate=16000)
    assert any(f"classes 'Yes', 'yes' {APART}" in line for line in data.describe())


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (lambda n: f"2024-01-{n % 28 + 1:02d}", 86400.0),
        (lambda n: f"2024-01-{n % 28 + 1:02d}T00:00:00Z", 86400.0),
        (lambda n: f"2024-01-01 {n % 24:02d}:00:00", 3600.0),
    ],
)
def test_a_column_of_dates_is_times_as_in_a_typed_table(written, seconds: float, tmp_path: Path) -> None:
    import pandas

    lines = "".join(f"{written(n)},{n % 3},{n % 7}\n" for n in range(60))
    (tmp_path / "a.csv").write_text("day,x,target\n" + lines)
    data = load_regression(tmp_path / "a.csv")
    assert data.columns == ("day", "x")
    assert any("column 'day': times, as seconds since 1970" in note for note in data.notes)
    day = data.encoding[0]
    values = data.train.inputs[:, 0].double() * day.scale + day.offset
    steps = (values - values.min()) / seconds
    assert float((steps - steps.round()).abs().max()) < 1e-3
    frame = pandas.read_csv(tmp_path / "a.csv", parse_dates=["day"])
    frame.to_parquet(tmp_path / "b.parquet")
    assert load_regression(tmp_path / "b.parquet").fingerprint() == data.fingerprint()


def test_dates_in_another_way_of_writing_are_names_and_it_is_said(tmp_path: Path) -> None:
    few = "".join(f"{n % 9 + 1}.3.2024,{n % 7}\n" for n in range(60))
    (tmp_path / "a.csv").write_text("day,target\n" + few)
    notes = load_regression(tmp_path / "a.csv").notes
    assert any(
        "dates such as '1.3.2024' are read as 9 names; written as 2024-01-31 they are" in n for n in notes
    )
    many = "".join(f"{n % 28 + 1}/{n % 12 + 1}/2024,{n % 7}\n" for n in range(90))
    (tmp_path / "b.csv").write_text("day,target\n" + many)
    with pytest.raises(
        CounterpointError, match="different texts.*dates are read as times where they are written as"
    ):
        load_regression(tmp_path / "b.csv")


def test_a_model_that_learnt_dates_as_names_still_reads_them_so(tmp_path: Path) -> None:
    from counterpoint.data.regression.columns import Column, encode_as
    from counterpoint.data.tables import read_table

    (tmp_path / "a.csv").write_text("day\n2024-01-01\n2024-01-02\n")
    stored = Column("day", ("2024-01-01", "2024-01-02"))
    assert encode_as([read_table(tmp_path / "a.csv")], [stored], "a").inputs.tolist() == [[1, 0], [0, 1]]


def test_an_array_without_a_name_is_pictures_by_its_shape(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", draw.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8))
    assert kind_of(str(tmp_path / "a.npy")) == "images"
    assert len(load_images(tmp_path / "a.npy").train) == 28
    np.save(tmp_path / "b.npy", draw.normal(size=(40, 8)))
    np.save(tmp_path / "c.npy", np.array([{}] * 40, dtype=object), allow_pickle=True)
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY")
    for name in "bcd":
        with pytest.raises(CounterpointError, match="cannot tell what kind"):
            kind_of(str(tmp_path / f"{name}.npy"))


def test_a_saved_folder_that_lacks_what_holds_it_together_is_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    part = datasets.Dataset.from_dict(
        {"text": [f"a text {n}" for n in range(30)], "label": [n % 2 for n in range(30)]}
    )
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "both"))
    both = load_texts(tmp_path / "both")
    (tmp_path / "both" / "dataset_dict.json").unlink()
    for read in (read_splits, load_texts, load_images):
        with pytest.raises(
            CounterpointError,
            match=r'no dataset_dict.json; .* write that file: {"splits": \["test", "train"\]}',
        ):
            read(tmp_path / "both")
    (tmp_path / "both" / "dataset_dict.json").write_text(json.dumps({"splits": ["test", "train"]}))
    assert load_texts(tmp_path / "both").fingerprint() == both.fingerprint()
    one = tmp_path / "both" / "train"
    (one / "state.json").unlink()
    for read in (read_splits, load_texts, load_images, lambda path: _folder(path, None)):  # type: ignore[arg-type]
        with pytest.raises(CounterpointError, match="holds data-00000-of-00001.arrow .* and no state.json"):
            read(one)


def pictures(folder: Path, ending: str = ".png", count: int = 12) -> Path:
    """Two folders of pictures."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            kind = "JPEG" if ending in (".jfif", ".JPE") else "PNG"
            Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(
                folder / name / f"{n}{ending}", kind
            )
    return folder


@pytest.mark.parametrize("ending", [".jfif", ".JPE"])
def test_other_endings_of_jpeg(ending: str, tmp_path: Path) -> None:
    assert kind_of(str(pictures(tmp_path / "p", ending))) == "images"
    assert len(load_images(tmp_path / "p").train) == 18


def test_an_empty_folder_beside_the_classes_and_an_open_document(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    (folder / "c").mkdir()
    (folder / ".cache").mkdir()
    (folder / "a" / "~$x.png").write_bytes(b"x")
    data = load_images(folder)
    assert data.classes == ("a", "b")
    assert "1 folders are empty, and no classes: 'c'" in data.notes
    (tmp_path / "split").mkdir()
    for name in ("train", "test"):
        pictures(tmp_path / "split" / name)
    (tmp_path / "split" / "test" / "c").mkdir()
    assert any("no classes: 'test/c'" in note for note in load_images(tmp_path / "split").notes)


def test_addresses_in_a_table_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "file,label\n" + "".join(f"https://x.org/{n}.png,{n % 2}\n" for n in range(30))
    )
    with pytest.raises(
        CounterpointError, match=r"https://x.org/0.png \(an address; fetch it into a file first\)"
    ):
        load_images(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "a", "label": 0},\n' * 30, "a.jsonl, line 1: Extra data"),
        ("a.jsonl", b'{\n "text": "a"\n}\n', "a.jsonl, line 1: Expecting property name"),
        (
            "a.json",
            b'{"data": [{"text": "a"}, {"text": "b"}]}',
            "one object, with all rows under 'data'; expected a list",
        ),
        ("a.json", b'{"x": {"0": 1, "1": 2}}', r"columns \(x; 2 values each\).*to_json"),
        ("a.csv", b"text,label\na\0b,1\n" * 30, "byte 12 is zero"),
        ("a.parquet", b"PAR1" + b"\0" * 40, "not a readable Parquet file"),
        ("a.csv", b"# made by R\ntext,label\na,1\n", "row 1: more fields than columns"),
    ],
)
def test_a_damaged_table_without_a_kind_is_named_for_what_it_is(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CounterpointError, match=says) as error:
        kind_of(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (lambda n: f"0x{n:x}", "column 'x': '0x0' is no number; its cells are read as 30 names"),
        (lambda n: f"{n}D+05", "is no number; its cells are read as 30 names"),
        (lambda n: f"{n % 24:02d}:30", "column 'x': '00:30' is no number; its cells are read as 24 names"),
        (lambda n: f"2024-{n % 12 + 1:02d}", "'2024-01' is no number; its cells are read as 12 names"),
        (lambda n: "abc"[n % 3], ""),
    ],
)
def test_a_column_that_begins_like_numbers_and_holds_none_is_said(cell, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,target\n" + "".join(f"{cell(n)},{n % 7}\n" for n in range(30)))
    notes = " ".join(load_regression(tmp_path / "a.csv").notes)
    assert says in notes
    assert bool(says) == ("read as" in notes)
