"""Data options of texts that a study needs: wrong labels on request, hidden labels whose truth is kept, short texts."""

import pytest

from counterpoint.data.text.load import build
from counterpoint.data.text.rows import Row
from counterpoint.errors import CounterpointError

ROWS = [Row(f"text number {i} of kind {'abc'[i % 3]}", ("abc"[i % 3],), None, f"row {i}") for i in range(90)]


def test_wrong_labels_are_as_many_as_asked_and_the_truth_is_kept() -> None:
    right, wrong = build(ROWS, False, "made"), build(ROWS, False, "made", mislabelled=0.25)
    assert wrong.train.texts == right.train.texts
    assert wrong.truth is not None
    assert (wrong.truth == right.train.targets).all()
    assert int((wrong.truth != wrong.train.targets).any(1).sum()) == round(0.25 * len(right.train))
    assert (wrong.train.targets.sum(1) == 1).all()
    assert (wrong.test.targets == right.test.targets).all()
    assert wrong.fingerprint() != right.fingerprint()
    assert "wrong on purpose" in wrong.notes[-1]
    assert right.truth is None


def test_hidden_and_wrong_labels_together() -> None:
    data = build(ROWS, False, "made", labelled=20, mislabelled=0.5)
    assert data.truth is not None
    odd = (data.truth != data.train.targets).any(1)
    assert int((odd & data.train.labelled).sum()) == 10
    assert (data.truth.sum(1) == 1).all()
    assert (data.train.targets.sum(1) == data.train.labelled).all()


def test_the_first_words_alone() -> None:
    data = build(ROWS, False, "made", words=3)
    assert all(len(text.split()) == 3 for text in data.train.texts)


@pytest.mark.parametrize(
    ("options", "lesson"),
    [({"mislabelled": 1.5}, "a share between 0 and 1"), ({"words": 0}, "at least 1 word")],
)
def test_wrong_options_teach(options, lesson) -> None:
    with pytest.raises(CounterpointError, match=lesson):
        build(ROWS, False, "made", **options)
