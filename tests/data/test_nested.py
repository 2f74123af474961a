"""Splits that stay apart: no seed tests what another one validated on; without the option nothing changes."""

import numpy as np
import pytest

from counterpoint.data.images import split as images
from counterpoint.data.text import split as texts
from counterpoint.errors import CounterpointError

LABELS = np.repeat(np.arange(4), [40, 30, 20, 10])


def text_parts(seed, untested=()):
    keys = texts.text_keys((f"text {i}" for i in range(len(LABELS))), len(LABELS))
    numbers, names = texts.numbered([None] * len(LABELS))
    return texts.split_rows(keys, numbers, names, LABELS, 0.2, 0.3, seed, "made up", [], untested)


def image_parts(seed, untested=()):
    named = [None] * len(LABELS)
    return images.split_rows(
        LABELS, [[i] for i in range(len(LABELS))], named, 0.2, 0.3, seed, "made up", [], untested
    )


@pytest.mark.parametrize("parts", [text_parts, image_parts])
def test_what_tuning_validated_on_is_never_tested(parts):
    tuned = {row for seed in (1001, 1002) for row in parts(seed)["validation"].tolist()}
    free = [len(tuned & set(parts(seed)["test"].tolist())) for seed in range(1, 6)]
    assert min(free) > 0  # without the option every seed tests some of them
    for seed in range(1, 6):
        found = parts(seed, (1001, 1002))
        assert not tuned & set(found["test"].tolist())
        whole = np.sort(np.concatenate(list(found.values())))
        assert whole.tolist() == list(range(100))
        assert {name: len(rows) for name, rows in found.items()} == {
            name: len(rows) for name, rows in parts(seed).items()
        }
        assert [int((LABELS[found["test"]] == c).sum()) for c in range(4)] == [12, 9, 6, 3]
    assert parts(1, (1001,))["test"].tolist() != parts(2, (1001,))["test"].tolist()


def test_the_option_of_a_loader_names_seeds(tmp_path):
    from counterpoint.data.text.load import load_texts

    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"text number {i},{label}\n" for i, label in enumerate(LABELS)))
    options = {"validation": 0.2, "test": 0.3}
    tuned = set(load_texts(path, seed=1001, **options).validation.texts)
    assert tuned & set(load_texts(path, seed=1, **options).test.texts)
    assert not tuned & set(load_texts(path, seed=1, untested="1001", **options).test.texts)
    with pytest.raises(CounterpointError, match="untested=1001,1002"):
        load_texts(path, untested="many", **options)
