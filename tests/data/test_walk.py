"""One walk decides what is data: hidden files, side files, runs, models and links, at any depth."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from counterpoint.data.audio.files import listing
from counterpoint.data.audio.load import load_audio
from counterpoint.data.images.load import load_images
from counterpoint.data.tables import read_splits
from counterpoint.data.text.load import load_texts
from counterpoint.data.walk import LOOPS, walk
from counterpoint.errors import CounterpointError
from counterpoint.tasks.recognise import kind_of

RUN = json.dumps({"identity": {"key": "sft"}, "recipe": {}})


def touch(folder: Path, *names: str) -> None:
    """Write files with some content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(folder: Path, **options: bool) -> list[str]:
    """The data files, relative to the folder."""
    return [str(file.name) for file in walk(folder, **options).files]


def photos(folder: Path, *classes: str, count: int = 12) -> None:
    """Write small images of different content, class by class."""
    from PIL import Image

    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            pixels = np.random.default_rng([number, k]).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/a.txt", ".git/objects/a.txt", "cat/.a.txt", "cat/._a.txt", ".DS_Store", "__MACOSX/cat/a.txt",
        "cat/Thumbs.db", "THUMBS.DB", "desktop.ini", "cat/Desktop.ini", "$RECYCLE.BIN/a.txt", "cat/@eaDir/a.txt",
        "System Volume Information/a.txt", "__pycache__/a.txt", "lost+found/a.txt",
    ],
)  # fmt: skip
def test_what_other_programs_leave_behind_is_no_data(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "cat/a.txt", "dog/b.txt", name)
    found = walk(tmp_path)
    assert [str(file.name) for file in found.files] == ["cat/a.txt", "dog/b.txt"]
    assert sum(map(len, found.left_out.values())) == 1
    assert len(found.describe()) == 1


def test_a_hidden_folder_that_is_given_is_read(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/set/cat/a.txt")
    assert names(tmp_path / ".cache" / "set") == ["cat/a.txt"]
    assert names(tmp_path / ".cache") == ["set/cat/a.txt"]


@pytest.mark.parametrize(
    "record",
    [
        {"run.json": RUN},
        {"study.json": json.dumps({"identity": {}, "plan": {}})},
        {"result.json": json.dumps({"metrics": {}, "cost": {}})},
        {"events.jsonl": "{}\n", "checkpoints/step-1/tree.json": "{}"},
    ],
)
def test_a_run_below_the_data_is_no_data(tmp_path: Path, record: dict[str, str]) -> None:
    touch(tmp_path, "train.jsonl")
    for name, content in record.items():
        touch(tmp_path, f"runs/one/{name}")
        (tmp_path / "runs" / "one" / name).write_text(content)
    touch(tmp_path, "runs/one/model/config.json", "runs/one/stages/a.jsonl")
    assert names(tmp_path) == ["train.jsonl"]
    assert "1 of runs (runs/one)" in walk(tmp_path).describe()[0]
    with pytest.raises(CounterpointError, match="folder of a run of counterpoint"):
        walk(tmp_path / "runs" / "one")


def test_files_of_a_user_that_only_have_a_record_s_name_are_data(tmp_path: Path) -> None:
    touch(tmp_path, "a/run.json", "b/result.json", "c/study.json", "d/events.jsonl", "e/config.json")
    (tmp_path / "a" / "run.json").write_text('[{"prompt": "a", "answer": "b"}]')
    (tmp_path / "b" / "result.json").write_text("[" * 100_000)
    assert len(names(tmp_path)) == 5


def test_a_model_below_the_data_is_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "train.jsonl", "tiny/config.json", "tiny/model.safetensors", "tiny/tokenizer.json")
    assert names(tmp_path) == ["train.jsonl"]


def test_links_are_followed_and_never_in_circles(tmp_path: Path) -> None:
    root, away = tmp_path / "set", tmp_path / "away"
    touch(root, "cat/a.txt")
    touch(away, "fox/b.txt", "single.txt")
    (root / "fox").symlink_to(away / "fox")
    (root / "cat" / "linked.TXT").symlink_to(away / "single.txt")
    (root / "cat" / "gone.txt").symlink_to(away / "gone.txt")
    (root / "cat" / "self.txt").symlink_to(root / "cat" / "self.txt")
    (root / "again").symlink_to(root)
    (root / "cat" / "up").symlink_to(tmp_path)
    (away / "fox" / "back").symlink_to(root)
    assert names(root) == ["cat/a.txt", "cat/gone.txt", "cat/linked.TXT", "cat/self.txt", "fox/b.txt"]
    assert len(walk(root).left_out[LOOPS]) == 3


def test_a_link_to_a_folder_beside_it_counts_twice_and_many_of_them_end(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/a.txt")
    (tmp_path / "test").symlink_to(tmp_path / "train")
    assert names(tmp_path) == ["test/cat/a.txt", "train/cat/a.txt"]
    tangle = tmp_path / "tangle"
    for one in range(12):
        touch(tangle, f"{one}/file.txt")
        for other in range(12):
            if other != one:
                (tangle / str(one) / f"to{other}").symlink_to(tangle / str(other))
    assert 12 <= len(names(tangle)) <= 12 * 12 * 12


def test_links_that_became_text_are_followed_and_said(tmp_path: Path) -> None:
    root = tmp_path / "set"
    touch(root, "cat/a.txt", "dog/d.txt")
    touch(tmp_path, "away/fox/b.txt", "away/c.TXT")
    (root / "fox").write_text("../away/fox\n")
    (root / "cat" / "c.txt").write_text("../../away/c.TXT")
    (root / "hound").write_text("dog")
    (root / "loop").write_text("..")
    found = walk(root)
    assert [str(file.name) for file in found.files] == [
        "cat/a.txt",
        "cat/c.txt",
        "dog/d.txt",
        "fox/b.txt",
        "hound/d.txt",
    ]
    assert [file.path.read_text() for file in found.files] == [
        "cat/a.txt",
        "away/c.TXT",
        "dog/d.txt",
        "away/fox/b.txt",
        "dog/d.txt",
    ]
    assert found.describe() == [
        "no data, left out: 1 links back to what is read already (loop)",
        "followed: 3 links that were saved as text (fox, hound, cat/c.txt)",
    ]


@pytest.mark.parametrize(
    "content", ["gone/fox", "cat/a.txt", ".", "/", "", "self", "../set\nmore", "\x00", "a" * 5000]
)
def test_a_small_file_that_is_no_link_stays_what_it_is(tmp_path: Path, content: str) -> None:
    touch(tmp_path, "set/cat/a.txt")
    (tmp_path / "set" / "self").write_text(content)
    (tmp_path / "set" / "cat" / "b.txt").write_text("a")
    assert names(tmp_path / "set") == ["cat/a.txt", "cat/b.txt", "self"]


def test_every_kind_reads_through_links_and_upper_case_endings(tmp_path: Path) -> None:
    photos(tmp_path / "away", "fox", "gull")
    photos(tmp_path / "set", "cat")
    (tmp_path / "set" / "fox").write_text("../away/fox")
    (tmp_path / "set" / "gull").symlink_to(tmp_path / "away" / "gull")
    for file in list((tmp_path / "set" / "cat").glob("*.png"))[:6]:
        file.rename(file.with_suffix(".PNG"))
    found = load_images(tmp_path / "set")
    assert found.classes == ("cat", "fox", "gull")
    assert len(found.train) + len(found.validation) + len(found.test) == 36
    rows = "".join(f"{name}/{k}.png,{name}\n" for name in ("fox", "gull") for k in range(12))
    (tmp_path / "set" / "photos.CSV").write_text("file,label\n" + rows)
    assert load_images(tmp_path / "set" / "photos.CSV").classes == ("fox", "gull")


def test_a_sound_whose_link_leads_nowhere_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.wav")
    (tmp_path / "cat" / "b.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(CounterpointError, match=r"b\.wav \(a link that leads to no file\)"):
        load_audio(tmp_path)


def test_a_named_pipe_is_no_data_and_does_not_block(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert names(tmp_path) == ["a.txt"]


def test_depth_and_limits(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b/c.txt", "b/d/e.txt")
    assert names(tmp_path, deep=False) == ["a.txt"]
    assert len(walk(tmp_path, limit=2).files) == 2
    assert not walk(tmp_path, limit=2).whole
    assert walk(tmp_path, limit=3).whole
    deep = tmp_path.joinpath(*"x" * 700)
    deep.mkdir(parents=True)
    (deep / "f.txt").write_text("x")
    assert len(names(tmp_path)) == 4


def test_names_that_are_no_utf8_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b".caf\xe9")).write_text("x")
    walk(tmp_path).describe()[0].encode("utf-8")


def test_every_kind_reads_what_the_walk_gives(tmp_path: Path) -> None:
    photos(tmp_path / "images", "cat", ".ipynb_checkpoints", "__MACOSX")
    photos(tmp_path / "elsewhere", "dog")
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "images" / "cat" / "0.png").rename(tmp_path / "images" / "cat" / "0.PNG")
    images = load_images(tmp_path / "images")
    assert images.classes == ("cat", "dog")
    assert sum(map(len, images.splits().values())) == 24
    for name in ("neg", "pos", ".trash"):
        touch(tmp_path / "texts", *(f"{name}/{k}.{'TXT' if k % 2 else 'txt'}" for k in range(12)))
    assert load_texts(tmp_path / "texts", validation=0.2).sizes == (12, 12)
    touch(tmp_path / "sounds", "a/1.WAV", "a/._1.WAV", "b/2.wav", "__MACOSX/b/._2.wav")
    assert [one.path.name for one in listing(tmp_path / "sounds", [])] == ["1.WAV", "2.wav"]
    (tmp_path / "rows" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("train.jsonl", "test.JSONL", ".ipynb_checkpoints/train-checkpoint.jsonl"):
        (tmp_path / "rows" / name).write_text('{"prompt": "a", "answer": "b"}\n')
    assert {split: len(list(rows)) for split, rows in read_splits(tmp_path / "rows").items()} == {
        "test": 1,
        "train": 1,
    }
    kinds = {kind_of(str(tmp_path / name)) for name in ("images", "texts", "sounds", "rows")}
    assert kinds == {"images", "text", "audio", "problems"}


def test_recognition_does_not_look_at_what_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    touch(tmp_path, ".cache/logo.png", "__MACOSX/._a.png")
    assert kind_of(str(tmp_path)) == "problems"
    (tmp_path / "ALL.JSONL").write_text('{"prompt": "a", "answer": "b"}\n')
    assert kind_of(str(tmp_path / "ALL.JSONL")) == "problems"


def test_check_says_what_was_left_out(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from counterpoint.cli.main import app

    photos(tmp_path, "cat", "dog", ".ipynb_checkpoints")
    touch(tmp_path, "cat/Thumbs.db")
    said = CliRunner().invoke(app, ["check", "--data", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert "left out: 1 hidden (.ipynb_checkpoints)" in said
    assert "(cat/Thumbs.db)" in said
