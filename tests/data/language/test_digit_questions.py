"""Questions about digits: answers follow from what is shown, splits share no picture, the reader is taught none of them."""

from __future__ import annotations

import io
from random import Random

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from counterpoint.conversation import pictures_of, turns
from counterpoint.data.language import digit_questions, problems
from counterpoint.data.language.digit_questions import ANSWERS, TAUGHT, WORDINGS, alike, picture, question
from counterpoint.errors import CounterpointError
from counterpoint.tasks.stock.reader import examples, rethink

LOOPS = {0, 6, 8, 9}


def shas(rows: list) -> set[str]:
    return {part["sha256"] for row in rows for part in pictures_of(turns(row.prompt))}


def test_answers_follow_from_the_digit() -> None:
    for number in (0, 5, TAUGHT, 1796):
        shown = int(load_digits().target[number])
        for about, wordings in WORDINGS.items():
            row = question(number, about, wordings[0])
            expected = {
                "parity": "o" if shown % 2 else "e",
                "size": "y" if shown > 4 else "n",
                "loop": "y" if shown in LOOPS else "n",
            }[about]
            assert (row.solution, row.answer) == (f"{shown};{expected}", expected)
    assert all(len(each) == 10 for each in ANSWERS.values())


def test_noise_is_a_pictures_own() -> None:
    import base64

    def pixels(**given: float) -> np.ndarray:
        source = picture(3, **given)["image"].partition(",")[2]  # type: ignore[arg-type]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("L")) / 255

    clean = load_digits().images[3] / 16
    assert np.abs(pixels(noise=0.0) - clean).max() < 0.01
    assert np.array_equal(pixels(), pixels())
    assert not np.array_equal(pixels(), pixels(copy=1))
    assert 0.05 < np.abs(pixels() - clean).mean() < 0.3


def test_splits_share_no_picture_and_none_is_taught() -> None:
    data = problems.load("digit-questions?size=60&validation=20&test=20&seed=3")
    parts = [shas(list(getattr(data, name))) for name in ("train", "validation", "test")]
    assert [len(getattr(data, name)) for name in ("train", "validation", "test")] == [60, 20, 20]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    taught = {part["sha256"] for prompt, _ in examples(Random(0), 20) for part in pictures_of(turns(prompt))}
    assert len(taught) > 20
    assert not taught & set.union(*parts)
    assert data.train.scorer == "last"
    other = problems.load("digit-questions?size=60&validation=20&test=20&seed=4")
    assert other.fingerprint() != data.fingerprint()


def test_more_questions_than_there_are_and_unknown_options_are_one_message() -> None:
    with pytest.raises(CounterpointError, match="train is to have 90000 questions, and .* can be made"):
        problems.load("digit-questions?size=90000&validation=0&test=0")
    with pytest.raises(CounterpointError, match="did you mean 'noise'"):
        problems.load("digit-questions?nois=0")


def test_pictures_that_are_alike_mostly_show_the_same_digit() -> None:
    near, digits = alike(200, 3), load_digits().target
    assert all(at not in others and max(others) < 200 for at, others in enumerate(near))
    same = np.mean([digits[at] == digits[other] for at, others in enumerate(near) for other in others])
    assert same > 0.8
    assert digit_questions.digit(7) == digits[7]


def test_rethinking_takes_what_contrast_came_to() -> None:
    assert rethink(["7;o/8,3;e", "7;o/", "7;o/x", "7;o/8"]) == ["8;e", "7;o", "7;o", "7;o"]
