"""BEIR folders: what is understood, how queries are divided, awkward and wrong input, fuzzed files."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import pytest

from beir_folder import write
from counterpoint.data.retrieval import Retrieval, load_retrieval
from counterpoint.data.retrieval.load import NAMES
from counterpoint.errors import CounterpointError
from counterpoint.tasks.recognise import kind_of


def queries_of(data: Retrieval) -> list[set[int]]:
    return [set(getattr(data, name).queries) for name in NAMES]


def test_a_folder_with_all_splits(tmp_path: Path) -> None:
    data = load_retrieval(write(tmp_path / "food"))
    assert [len(getattr(data, name)) for name in NAMES] == [4, 4, 4]
    assert data.documents[1] == "food bread is good 1"
    assert data.documents[0] == "apple is good 0"
    for part in (data.train, data.validation, data.test):
        for query, document, grade in zip(part.query.tolist(), part.document.tolist(), part.grade.tolist()):
            assert query == document
            assert grade == 1 + query % 2
    assert "12 judgements say that a document is not relevant" in " ".join(data.describe())
    assert kind_of(str(tmp_path / "food")) == "retrieval"


@pytest.mark.parametrize("splits", [("test",), ("train",)])
def test_judgements_of_one_split_are_divided_by_query(tmp_path: Path, splits: tuple[str, ...]) -> None:
    data = load_retrieval(write(tmp_path, splits), validation=0.25, test=0.25)
    parts = queries_of(data)
    assert [len(part) for part in parts] == [6, 3, 3]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert load_retrieval(tmp_path, validation=0.25, test=0.25).fingerprint() == data.fingerprint()
    assert load_retrieval(tmp_path, validation=0.25, test=0.25, seed=1).fingerprint() != data.fingerprint()


def test_a_missing_validation_is_a_share_of_the_training_queries(tmp_path: Path) -> None:
    data = load_retrieval(write(tmp_path, ("train", "test")), validation=0.5)
    assert [len(part) for part in queries_of(data)] == [3, 3, 6]
    assert len(load_retrieval(tmp_path, validation=0.5, limit=2).train.queries) == 2


def test_csv_and_other_names_of_columns(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "corpus.jsonl").unlink()
    (tmp_path / "corpus.csv").write_text("id,text\n" + "".join(f"d{n},text {n}\n" for n in range(12)))
    (tmp_path / "qrels" / "test.tsv").write_text("query_id\tcorpus_id\nq2\td2\n")
    data = load_retrieval(tmp_path)
    assert data.documents[3] == "text 3"
    assert (len(data.test), float(data.test.grade[0])) == (1, 1.0)


def row(folder: Path, name: str, at: int, **change: object) -> None:
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    lines[at] |= change
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


WRONG = {
    "no corpus": (lambda f: (f / "corpus.jsonl").unlink(), "has 0 files named corpus"),
    "two corpora": (lambda f: (f / "corpus.csv").write_text("_id,text\na,b\n"), "has 2 files named corpus"),
    "no judgements": (lambda f: [p.unlink() for p in (f / "qrels").iterdir()], "has no judgements"),
    "no text": (lambda f: row(f, "corpus.jsonl", 2, text=" ", title=""), "row 3 has no text"),
    "no id": (lambda f: row(f, "queries.jsonl", 1, _id=None), "row 2 has no id"),
    "twice": (lambda f: row(f, "corpus.jsonl", 1, _id="d0"), "row 2: the id 'd0' stands twice"),
    "unknown": (lambda f: row(f, "corpus.jsonl", 0, _id="x"), "name the document 'd0', which is not in the data"),
    "unknown query": (lambda f: row(f, "queries.jsonl", 0, _id="x"), "name the query 'q0'"),
    "score": (lambda f: (f / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\tgood\n"), "score='good'"),
    "nan": (lambda f: (f / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\tinf\n"), "expected a number"),
    "column": (lambda f: (f / "qrels/test.tsv").write_text("query\tcorpus-id\nq2\td2\n"), "no column 'query-id'; it has query"),
    "leak": (lambda f: (f / "qrels/test.tsv").write_text("query-id\tcorpus-id\nq0\td0\n"), "'q0' is judged in train and in test"),
    "split": (lambda f: (f / "qrels/test.tsv").rename(f / "qrels/some.tsv"), "is of no split"),
    "no training": (lambda f: (f / "qrels/train.tsv").unlink(), "and none of train"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_message(name: str, tmp_path: Path) -> None:
    change, message = WRONG[name]
    change(write(tmp_path / "food"))
    with pytest.raises(CounterpointError, match=message):
        load_retrieval(tmp_path / "food")


def test_wrong_options(tmp_path: Path) -> None:
    write(tmp_path, ("train",))
    for options in ({"validation": 0.6, "test": 0.5}, {"validation": -0.1}, {"test": 1.0}):
        with pytest.raises(CounterpointError, match="expected shares"):
            load_retrieval(tmp_path, **options)
    with pytest.raises(CounterpointError, match="is no folder"):
        load_retrieval(tmp_path / "nowhere")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_errors_of_ours_or_data(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    write(tmp_path)
    path = draw.choice(sorted(tmp_path.rglob("*.*sl")) + sorted(tmp_path.rglob("*.tsv")))
    content = bytearray(path.read_bytes())
    for _ in range(draw.randrange(1, 6)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path.write_bytes(
        bytes(content[: draw.randrange(1, len(content))]) if draw.random() < 0.5 else bytes(content)
    )
    with contextlib.suppress(CounterpointError):
        load_retrieval(tmp_path).describe()
