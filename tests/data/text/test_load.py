"""Texts and their labels: what is read, how it is split, and lessons for what cannot be used."""

import json

import pytest
import torch

from counterpoint.data.text.load import Texts, load_texts
from counterpoint.errors import CounterpointError
from counterpoint.study.recommend import facts_of, suggestions
from counterpoint.tasks.recognise import kind_of
from counterpoint.tasks.task import task
from texts_made_up import rows, write_csv


def write(path, table) -> str:
    path.write_text("\n".join(json.dumps(row) for row in table), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_forms_read_alike(tmp_path, form):
    table = rows()
    spec = str(tmp_path / f"a.{form}")
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), spec)
    elif form == "jsonl":
        write(tmp_path / "a.jsonl", table)
    elif form == "csv":
        write_csv(tmp_path / "a.csv", table)
    else:
        (tmp_path / "a.tsv").write_text(
            "text\tlabel\n" + "\n".join(f"{r['text']}\t{r['label']}" for r in table)
        )
    assert kind_of(spec) == "text"
    data = load_texts(spec)
    assert data.classes == ("music", "old_stones", "rain", "tea")
    assert data.label_texts[1] == "old stones"
    assert data.sizes == (32, 16, 48, 64)
    assert data.tail().tolist() == [True, True, False, False]
    together = [
        (text, data.classes[int(label)])
        for part in data.splits().values()
        for text, label in zip(part.texts, part.labels, strict=True)
    ]
    assert sorted(together) == sorted((r["text"], r["label"]) for r in table)
    assert data.fingerprint() == load_texts(spec).fingerprint() != load_texts(spec, seed=1).fingerprint()


def test_splits_are_stratified_and_keep_copies_on_one_side(tmp_path):
    table = rows(300)
    data = load_texts(write(tmp_path / "a.jsonl", [*table, *table]))
    texts = {name: set(part.texts) for name, part in data.splits().items()}
    assert not texts["train"] & texts["test"] | texts["train"] & texts["validation"]
    for part, share in (("validation", 0.15), ("test", 0.2)):
        found = data.splits()[part].targets.sum(0) / torch.tensor(data.sizes)
        assert torch.allclose(found, torch.full((4,), share), atol=0.06)


def test_split_files_are_kept_and_shared_texts_reported(tmp_path):
    table = rows()
    for name, part in (("train", table[:100]), ("valid", table[100:130]), ("test", [*table[130:], table[0]])):
        write_csv(tmp_path / f"{name}.csv", part)
    data = load_texts(tmp_path)
    assert [len(part) for part in data.splits().values()] == [100, 30, 31]
    assert any("1 test texts are in train" in line for line in data.describe())
    assert kind_of(str(tmp_path)) == "text"


@pytest.mark.parametrize("splits", [False, True])
def test_folders_of_text_files(tmp_path, splits):
    for number, row in enumerate(rows(80)):
        part = ("train", "validation", "test")[number % 3] if splits else "."
        folder = tmp_path / part / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(row["text"])
    assert kind_of(str(tmp_path)) == "text"
    data = load_texts(tmp_path)
    assert data.classes == ("music", "old_stones", "rain", "tea")
    assert sum(len(part) for part in data.splits().values()) == 80
    assert not splits or len(data.train) == 27


@pytest.mark.parametrize("form", ["separator", "list"])
def test_several_labels(tmp_path, form):
    table = [
        {**row, "label": [row["label"], "warm"] if n % 2 else [row["label"]]} for n, row in enumerate(rows())
    ]
    if form == "separator":
        spec = write_csv(tmp_path / "a.csv", [{**r, "label": "; ".join(r["label"])} for r in table])
        data = load_texts(spec, separator=";")
    else:
        data = load_texts(write(tmp_path / "a.jsonl", table))
    assert data.multi_label
    assert data.sizes == (32, 16, 48, 64, 80)
    assert int(data.train.targets.sum(1).max()) == 2


def test_unlabelled_rows_are_trained_on_and_not_measured(tmp_path):
    table = [{**row, "label": "" if n % 4 == 0 else row["label"]} for n, row in enumerate(rows(200))]
    data = load_texts(write_csv(tmp_path / "a.csv", table))
    assert bool(data.test.labelled.all())
    assert len(data.train) - int(data.train.labelled.sum()) == 50
    assert any("50 of" in line for line in data.describe())
    assert not data.train.targets[~data.train.labelled].any()


def test_hidden_labels_keep_proportions(tmp_path):
    spec = write(tmp_path / "a.jsonl", rows(400))
    whole, few = load_texts(spec), load_texts(spec, labelled=0.25)
    assert few.train.texts == whole.train.texts
    assert int(few.train.labelled.sum()) == round(0.25 * len(whole.train))
    share = few.train.targets.sum(0) / whole.train.targets.sum(0)
    assert torch.allclose(share, torch.full((4,), 0.25), atol=0.06)
    assert few.sizes == whole.sizes
    assert few.fingerprint() != whole.fingerprint()
    assert int(load_texts(spec, labelled=10).train.labelled.sum()) == 10
    assert not load_texts(spec, labelled=0.0).train.targets.any()


def test_texts_alone(tmp_path):
    table = [{"text": row["text"]} for row in rows()]
    data = load_texts(write(tmp_path / "a.jsonl", table))
    assert data.classes == ()
    assert any("no labels" in line for line in data.describe())


def change(name, value, where=3):
    return lambda table: [{**row, name: value} if n == where else row for n, row in enumerate(table)]


@pytest.mark.parametrize(
    ("change", "options", "lesson"),
    [
        (lambda t: t, {"text": "txt"}, "did you mean 'text'"),
        (lambda t: t, {"label": "lable"}, "did you mean 'label'"),
        (lambda t: [{"phrase": r["text"], "label": r["label"]} for r in t], {}, "text=phrase"),
        (change("text", ""), {}, "1 row has no text, the first is row 4.*empty=skip"),
        (change("text", 7), {}, "row 4: the text in column 'text' is 7"),
        (change("label", 0.5), {}, "row 4: the label is 0.5"),
        (lambda t: [{**r, "label": "tea"} for r in t], {}, "every labelled text is of the class 'tea'"),
        (
            lambda t: [{**r, "label": r["text"] + str(n)} for n, r in enumerate(t)],
            {},
            "--data-option 'separator=;'",
        ),
        (lambda t: t[:9], {}, "at least 20"),
        (lambda t: t, {"validation": 0.7, "test": 0.6}, "shares above 0"),
        (lambda t: t, {"labelled": 1.5}, "share from 0 to 1"),
        (lambda t: t, {"labelled": 5000}, "only .* training texts have labels"),
        (lambda t: t, {"limit": 1}, "at least 2"),
        (lambda t: t, {"empty": "skp"}, "did you mean 'skip'"),
    ],
)
def test_wrong_input_teaches(tmp_path, change, options, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        load_texts(write(tmp_path / "a.jsonl", change(rows())), **options)


def test_evaluation_without_labels_teaches(tmp_path):
    table = rows()
    for name, part in (("train", table[:100]), ("validation", [{**r, "label": ""} for r in table[100:]])):
        write_csv(tmp_path / f"{name}.csv", part)
    with pytest.raises(CounterpointError, match="no validation text has a label"):
        load_texts(tmp_path)


def test_wrong_files_teach(tmp_path):
    with pytest.raises(CounterpointError, match="there is no data"):
        load_texts(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("text,label\ncaf\u00e9,x\n".encode("latin-1"))
    with pytest.raises(CounterpointError, match="no UTF-8"):
        load_texts(tmp_path / "latin.csv")
    deep = tmp_path / "folder" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x.txt").write_text("words")
    with pytest.raises(CounterpointError, match="folders deep"):
        load_texts(tmp_path / "folder")


def test_empty_texts_are_left_out_on_request(tmp_path):
    data = load_texts(write(tmp_path / "a.jsonl", change("text", "  ")(rows())), empty="skip")
    assert sum(len(part) for part in data.splits().values()) == 159
    assert "1 row without text left out" in data.notes


def test_the_task_takes_text_options_and_suggests(tmp_path):
    spec = write(tmp_path / "a.jsonl", rows())
    data = task("text").load_data(spec, labelled="0.5")
    assert isinstance(data, Texts)
    with pytest.raises(CounterpointError, match="did you mean 'labelled'"):
        task("text").load_data(spec, labeled=0.5)
    with pytest.raises(CounterpointError, match="labelled='many'"):
        task("text").load_data(spec, labelled="many")
    facts = facts_of("text", data)
    assert (facts.rows, facts.classes, facts.imbalance) == (len(data.train), 4, 4.0)
    assert suggestions(facts, {"contrastive-primer", "tfidf"})[0].key == "contrastive-primer"


@pytest.mark.slow
def test_the_bundled_fortunes():
    data = task("text").load_data("fortunes")
    assert len(data.classes) == 26
    assert data.multi_label is False
    assert "men women" in data.classes
    assert (max(data.sizes), min(data.sizes), sum(data.sizes)) == (1243, 30, 9198)
    with pytest.raises(CounterpointError, match="expected en, fr or es"):
        task("text").load_data("wiki-vital", language="de")
