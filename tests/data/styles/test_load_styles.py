"""Two folders, pairs, the folders of CycleGAN's data sets, plain pictures alone; and what cannot be read as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoint.data.styles.digits import load_restyled_digits, restyled
from counterpoint.data.styles.load import load_styles
from counterpoint.data.styles.sets import NONE
from counterpoint.errors import CounterpointError
from counterpoint.tasks.recognise import kind_of
from counterpoint.tasks.styles import TASK


def fill(folder: Path, count: int, *, value: int = 0, side: int = 8, channels: int = 3) -> None:
    """Pictures 0.png, 1.png, ..., each of one colour, so that a picture says which it is."""
    image = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((side, side, channels), value + number, np.uint8)
        image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(folder / f"{number}.png")


def test_equal_names_are_pairs_and_stay_together(tmp_path: Path) -> None:
    fill(tmp_path / "plain", 30)
    fill(tmp_path / "styled", 30, value=100)
    data = load_styles(tmp_path, seed=3)
    for part in data.splits().values():
        plain, styled = part.pairs()
        assert len(plain) == len(part.plain) == len(part.styled)
        assert torch.equal(styled.int() - plain.int(), torch.full_like(plain.int(), 100))
    assert sum(len(part.plain) for part in data.splits().values()) == 30
    assert any(line.startswith("pairs: train") for line in data.describe())
    unpaired = load_styles(tmp_path, paired="none")
    assert (unpaired.train.partners == NONE).all()
    assert kind_of(str(tmp_path)) == "styles"


def test_names_that_are_shared_by_chance_are_no_pairs(tmp_path: Path) -> None:
    fill(tmp_path / "plain", 30)
    fill(tmp_path / "art", 5, value=100)
    fill(tmp_path / "more", 40, value=150)
    (tmp_path / "more" / "0.png").rename(tmp_path / "more" / "another.png")
    data = load_styles(tmp_path / "plain", styled=str(tmp_path / "more"))
    assert (data.train.partners == NONE).all()
    assert any("paired=names" in line for line in data.describe())
    named = load_styles(tmp_path / "plain", styled=str(tmp_path / "more"), paired="names")
    assert sum(int((part.partners != NONE).sum()) for part in named.splits().values()) == 29
    few = load_styles(tmp_path / "plain", styled=str(tmp_path / "art"), paired="none")
    assert (len(few.train.styled), len(few.test.styled)) == (5, 0)
    with pytest.raises(CounterpointError, match="names, and"):
        fill(tmp_path / "b" / "x", 30)
        (tmp_path / "art2").mkdir()
        for number in range(12):
            (tmp_path / "art" / "0.png").parent.joinpath("0.png")
            (tmp_path / "art2" / f"z{number}.png").write_bytes((tmp_path / "more" / "3.png").read_bytes())
        load_styles(tmp_path / "b" / "x", styled=str(tmp_path / "art2"), paired="names")


def test_the_folders_of_cyclegan_say_their_splits(tmp_path: Path) -> None:
    for name, count, value in (("trainA", 20, 0), ("trainB", 16, 100), ("testA", 6, 60), ("testB", 4, 160)):
        fill(tmp_path / name, count, value=value)
    data = load_styles(tmp_path, paired="none")
    assert (len(data.test.plain), len(data.test.styled)) == (6, 4)
    assert sorted(data.test.plain[:, 0, 0, 0].tolist()) == list(range(60, 66))
    assert len(data.train.plain) + len(data.validation.plain) == 20
    assert len(data.train.styled) + len(data.validation.styled) == 16


def test_gray_and_coloured_pictures_of_two_sizes_become_one(tmp_path: Path) -> None:
    fill(tmp_path / "plain", 20, side=9, channels=1)
    fill(tmp_path / "styled", 20, side=15)
    data = load_styles(tmp_path, paired="none")
    assert data.shape[0] == 3
    assert data.train.plain.shape[1:] == data.train.styled.shape[1:] == (3, 12, 12)


def test_plain_pictures_alone_and_prompts(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 20)
    data = load_styles(tmp_path / "photos", styled_prompts="a painting; a canvas", limit=7)
    assert (len(data.train.plain), len(data.train.styled)) == (7, 0)
    assert data.prompts == {"plain": ("original image",), "styled": ("a painting", "a canvas")}
    assert any("a prior must make" in line for line in data.describe())
    assert data.fingerprint() != load_styles(tmp_path / "photos", limit=7).fingerprint()
    found = TASK.evaluate(TASK.load_model("restyler-small", data, 0), data, "test", 0)
    assert set(found) == {"structure@styled", "cosine_between", "cosine_within"}


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "both" / "plain", 20)
    fill(tmp_path / "both" / "styled", 20)
    fill(tmp_path / "few", 4)
    for given, match in (
        ((tmp_path / "nothing",), "is no folder"),
        ((tmp_path / "few",), "4 plain"),
    ):
        with pytest.raises(CounterpointError, match=match):
            load_styles(*given)
    with pytest.raises(CounterpointError, match="leave the option out"):
        load_styles(tmp_path / "both", styled=str(tmp_path / "few"))
    with pytest.raises(CounterpointError, match="styled_prompts"):
        load_styles(tmp_path / "both", styled_prompts=" ; ")
    with pytest.raises(CounterpointError, match="did you mean 'paired'"):
        TASK.load_data(str(tmp_path / "both"), pared="none")
    with pytest.raises(CounterpointError, match="limit=0"):
        load_styles(tmp_path / "both", limit=0)
    (tmp_path / "both" / "plain" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(CounterpointError, match="unreadable=skip"):
        load_styles(tmp_path / "both")
    skipped = load_styles(tmp_path / "both", unreadable="skip")
    assert any("bad.png" in note and note.endswith("left out") for note in skipped.notes)
    assert sum(len(part.plain) for part in skipped.splits().values()) == 20
    with pytest.raises(CounterpointError, match="neither a reference model"):
        TASK.load_model("restyler-tiny", load_styles(tmp_path / "both", unreadable="skip"), 0)


def test_restyled_digits_are_halves_and_their_truth_is_the_operator() -> None:
    data = load_restyled_digits(limit=60, evaluation_limit=30)
    assert (len(data.train.plain), len(data.train.styled)) == (30, 30)
    plain, styled = data.test.pairs()
    wanted = restyled(plain / 255)
    assert (styled / 255 - wanted).abs().max() < 0.01
    # the operator, written out for one pixel: rows 5, columns 3
    x = plain[0, 0].double() / 255
    blur = sum(x[5 + k, 3 + k] for k in range(-2, 3)) / 5
    by_hand = 0.7 * blur + 0.25 * (3 % 4 < 2) + (-0.2 + 0.4 * 5 / 15)
    assert float(wanted[0, 0, 5, 3]) == pytest.approx(float(by_hand.clamp(0, 1)), abs=1e-5)
