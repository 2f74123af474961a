"""A column ``split`` of a file of interactions is followed, whatever the file's form."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from counterpoint.data.interactions.load import load_interactions
from counterpoint.errors import CounterpointError

ROWS = [(f"u{n % 6}", f"i{n // 6}", n % 5 + 1) for n in range(60)]


def split(n):
    return "test" if n % 7 == 3 else "validation" if n % 7 == 5 else "train"


def written(path, words=lambda n: split(n), name="split"):
    rows = [
        {"user": user, "item": item, "rating": rating, name: words(n)}
        for n, (user, item, rating) in enumerate(ROWS)
    ]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        path.write_text(
            "".join(mark.join(map(str, row)) + "\n" for row in ([*rows[0]], *(row.values() for row in rows)))
        )
    return path


def pairs(data, part):
    inside = getattr(data, part)
    return {
        (data.users[u], data.items[i])
        for u, i in zip(inside.users.tolist(), inside.items.tolist(), strict=True)
    }


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", ["split", " Split"])
def test_rows_go_where_the_column_says(tmp_path, suffix, name):
    data = load_interactions(written(tmp_path / f"a{suffix}", lambda n: split(n).upper() + " ", name))
    for part in ("train", "validation", "test"):
        assert pairs(data, part) == {row[:2] for n, row in enumerate(ROWS) if split(n) == part}
    assert not any(note.startswith("split: ratio") for note in data.describe())
    assert any("split =" in note for note in data.describe())


def test_ratings_stay_with_their_rows_and_validation_is_cut_where_it_is_not_named(tmp_path):
    path = written(tmp_path / "a.csv", lambda n: "test" if n % 4 == 0 else "train")
    data = load_interactions(path, threshold=3)
    assert pairs(data, "test") == {row[:2] for n, row in enumerate(ROWS) if n % 4 == 0 and row[2] >= 3}
    assert any("taken at random (seed 0) from the training rows" in note for note in data.describe())
    assert len(data.validation) == round(0.1 * sum(row[2] >= 3 for n, row in enumerate(ROWS) if n % 4))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (lambda n: "train", "names no test rows"),
        (lambda n: "test" if n else "", "row 1: the column 'split' holds ''"),
        (lambda n: "trian" if n % 2 else "trainn", "did you mean 'train'"),
    ],
)
def test_other_words_teach(tmp_path, words, message):
    with pytest.raises(CounterpointError, match=message):
        load_interactions(written(tmp_path / "a.csv", words))


def test_a_column_of_something_else_is_no_split(tmp_path):
    data = load_interactions(written(tmp_path / "a.csv", lambda n: f"{n}/10"))
    assert any(note.startswith("split: ratio") for note in data.describe())
