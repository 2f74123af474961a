"""Pairs of sentences from files: columns by name and by order, every bad row named, splits without leaks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from counterpoint.data.sentence_pairs import load_sentence_pairs
from counterpoint.errors import CounterpointError
from counterpoint.tasks.recognise import kind_of

ROWS = [{"anchor": f"question {n}", "positive": f"answer {n}", "negative": f"other {n}"} for n in range(30)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(rows)
    return path


def changed(row: int, **cells: Any) -> list[dict[str, Any]]:
    return [{**each, **(cells if at == row else {})} for at, each in enumerate(ROWS)]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"pairs{ending}", ROWS)
    assert kind_of(str(path)) == "sentence-pairs"
    data = load_sentence_pairs(path, seed=3)
    assert {name: len(part) for name, part in data.splits().items()} == {
        "train": 21,
        "validation": 3,
        "test": 6,
    }
    assert data.num_negatives == 1
    every = {(a, p, n) for part in data.splits().values() for a, p, n in zip(*part.columns)}
    assert every == {tuple(row.values()) for row in ROWS}
    assert (
        data.fingerprint() == load_sentence_pairs(write(tmp_path / "again.csv", ROWS), seed=3).fingerprint()
    )
    assert data.fingerprint() != load_sentence_pairs(path, seed=4).fingerprint()


def test_negatives_may_be_numbered_or_a_list(tmp_path: Path) -> None:
    listed = [
        {"positive": r["positive"], "anchor": r["anchor"], "negatives": [r["negative"], "far"]} for r in ROWS
    ]
    numbered = [
        {"negative_10": "last", "anchor": r["anchor"], "negative_2": "far", "positive": r["positive"], "negative_1": r["negative"]}
        for r in ROWS
    ]  # fmt: skip
    one = load_sentence_pairs(write(tmp_path / "listed.jsonl", listed))
    two = load_sentence_pairs(write(tmp_path / "numbered.csv", numbered))
    assert one.train.negatives == tuple(row[:2] for row in two.train.negatives)
    assert {row[2] for row in two.train.negatives} == {"last"}
    cut = load_sentence_pairs(tmp_path / "numbered.csv", most_negatives=2)
    assert cut.fingerprint() == one.fingerprint()
    assert load_sentence_pairs(tmp_path / "listed.jsonl", most_negatives=0).num_negatives == 0


def test_other_names_count_in_their_order_and_are_said(tmp_path: Path) -> None:
    rows = [
        {"id": n, "query": r["anchor"], "reply": r["positive"], "wrong": r["negative"]}
        for n, r in enumerate(ROWS)
    ]
    path = write(tmp_path / "own.csv", rows)
    data = load_sentence_pairs(path)
    assert data.train.anchors[0].startswith("question")
    assert data.train.negatives[0][0].startswith("other")
    said = "\n".join(data.notes)
    assert "'query' the anchor, 'reply' the positive, 'wrong' the negative" in said
    assert "not read: id" in said
    swapped = load_sentence_pairs(path, columns="reply,query")
    assert (swapped.train.anchors, swapped.train.positives) == (data.train.positives, data.train.anchors)
    assert swapped.num_negatives == 0


def test_scores_and_labels(tmp_path: Path) -> None:
    rows = [{"score": n % 6, "sentence1": f"a {n}", "sentence2": f"b {n}"} for n in range(30)]
    path = write(tmp_path / "graded.csv", rows)
    data = load_sentence_pairs(path, scale=5)
    assert data.scored
    for a, score in zip(data.train.anchors, data.train.scores.tolist()):
        assert score == pytest.approx(int(a.split()[1]) % 6 / 5)
    pairs = load_sentence_pairs(path, scale=5, positive_from=0.8)
    assert not pairs.scored
    assert sum(map(len, pairs.splits().values())) == 10
    assert load_sentence_pairs(path, score="none").scored is False
    labelled = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": n % 2} for n in range(30)]
    assert load_sentence_pairs(write(tmp_path / "labelled.csv", labelled)).scored
    by_order = [{"label": n % 2, "first": f"a {n}", "second": f"b {n}"} for n in range(30)]
    assert load_sentence_pairs(write(tmp_path / "order.csv", by_order)).train.anchors[0].startswith("a ")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(4, anchor="  "), "row 5: the column 'anchor' is empty"),
        (changed(6, negative=None), "row 7: the column 'negative' is empty"),
        (changed(2, positive=3.5), "row 3: the column 'positive' holds 3.5"),
        (changed(8, negative="answer 8"), "row 9: a negative is the positive itself"),
        (changed(3, negative=["a", "b"]), "row 4: 2 negatives, and most rows have 1"),
        (changed(3, negative=[]), "row 4: the column 'negative' is an empty list"),
        ([{"anchor": "a", "other": 1}] * 12, "columns anchor, other; expected anchor and positive"),
        ([{**row, "score": 1} for row in ROWS], "row 1: a score beside negatives"),
        (ROWS[:5], "5 rows to read; expected at least 10"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(CounterpointError, match=message):
        load_sentence_pairs(write(tmp_path / "pairs.jsonl", rows))


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (5, {}, "row 3: the column 'score' holds 5; expected from -1 to 1.*scale=5"),
        (2, {"scale": 1.5}, "row 3: .* after division by scale=1.5"),
        ("", {}, "row 3: the column 'score' is empty"),
        ("near", {}, "row 3: the column 'score' holds 'near'; expected a number"),
        ("inf", {}, "row 3: the column 'score' holds 'inf'; expected a finite number"),
        (1, {"scale": 0.0}, "scale=0.0; expected a number above 0"),
        (1, {"columns": "sentence1,sentence3"}, "no column 'sentence3'"),
        (
            1,
            {"columns": "sentence1"},
            "columns='sentence1'; expected the columns of the anchor and of the positive",
        ),
        (1, {"score": "grade"}, "no column 'grade'"),
    ],
)
def test_a_bad_score_or_option_is_named(
    tmp_path: Path, cell: Any, options: dict[str, Any], message: str
) -> None:
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": cell if n == 2 else 1} for n in range(12)]
    with pytest.raises(CounterpointError, match=message):
        load_sentence_pairs(write(tmp_path / "graded.csv", rows), **options)


def test_rows_that_share_a_sentence_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"anchor": f"question {n // 3}", "positive": f"Answer {n % 40}"} for n in range(120)]
    rows += [{"anchor": f"ANSWER {n}", "positive": f"more {n}"} for n in range(40)]
    data = load_sentence_pairs(write(tmp_path / "pairs.csv", rows), test=0.3)
    chains = [{"anchor": f"q {n}", "positive": f"p {n // 2}"} for n in range(60)]
    other = load_sentence_pairs(write(tmp_path / "chains.csv", chains))
    sides = {name: {text.lower() for text in (*part.positives,)} for name, part in other.splits().items()}
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["validation"]
    assert "share a sentence" in "\n".join(other.notes)
    # All of the first file hang together by their positives: there, anchors alone are kept apart.
    anchors = {name: set(part.anchors) for name, part in data.splits().items()}
    assert not anchors["train"] & anchors["test"]
    assert "share their anchor" in "\n".join(data.notes)


def test_own_splits_are_kept_and_what_they_share_is_said(tmp_path: Path) -> None:
    rows = [{**row, "split": ("train", "dev", "test")[n % 3]} for n, row in enumerate(ROWS)]
    rows[1]["positive"] = "ANSWER 0"
    data = load_sentence_pairs(write(tmp_path / "pairs.csv", rows))
    assert [len(part) for part in data.splits().values()] == [10, 10, 10]
    assert "warning: a sentence of 1 validation and of 0 test rows is in train, too" in data.describe()


def test_doubles_in_training_are_said(tmp_path: Path) -> None:
    rows = [{"anchor": f"question {n // 2}", "positive": f"answer {n}"} for n in range(40)]
    said = "\n".join(load_sentence_pairs(write(tmp_path / "pairs.csv", rows)).describe())
    assert "training rows share their anchor and 0 their positive" in said
