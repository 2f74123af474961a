"""Preferences in every accepted form, and what wrong input teaches."""

import csv
import json
from pathlib import Path

import pytest

from counterpoint.data.language.preferences import load
from counterpoint.errors import CounterpointError


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def bot(text: str) -> dict:
    return {"role": "assistant", "content": text}


FORMS = {
    "standard": [{"prompt": f"sky {i}?", "chosen": "blue", "rejected": "green"} for i in range(40)],
    "implicit": [{"chosen": f"the sky {i} is blue", "rejected": f"the sky {i} is green"} for i in range(40)],
    "conversational": [
        {"prompt": [user(f"sky {i}?")], "chosen": [bot("blue")], "rejected": [bot("green")]}
        for i in range(40)
    ],
    "implicit_conversational": [
        {"chosen": [user(f"sky {i}?"), bot("blue")], "rejected": [user(f"sky {i}?"), bot("green")]}
        for i in range(40)
    ],
    "prompt_twice": [
        {
            "prompt": f"sky {i}?",
            "chosen": [user(f"sky {i}?"), bot("blue")],
            "rejected": [user(f"sky {i}?"), bot("green")],
            "score": 3,
        }
        for i in range(40)
    ],
    "unpaired": [
        {"prompt": f"sky {i}?", "completion": "blue" if i % 2 else "green", "label": bool(i % 2)}
        for i in range(40)
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path: Path, form: str) -> None:
    data = load(write(tmp_path / "all.jsonl", FORMS[form]))
    rows = [*data.train, *data.validation, *data.test]
    assert len(rows) == 40
    assert {row.chosen for row in rows} <= {"blue", ""}
    assert {row.rejected for row in rows} <= {"green", ""}
    asked = {row.prompt if isinstance(row.prompt, str) else row.prompt[-1]["content"] for row in rows}
    assert len(asked) == 40
    assert all("sky" in each for each in asked)
    assert data.paired == (form != "unpaired")
    assert data.describe()[0].endswith("marked good or bad" if form == "unpaired" else "pairs")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "parquet"])
def test_files(tmp_path: Path, suffix: str) -> None:
    rows, path = FORMS["standard"], tmp_path / f"all.{suffix}"
    if suffix in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    assert load(path).fingerprint() == load(write(tmp_path / "same.jsonl", rows)).fingerprint()


def test_saved_by_the_datasets_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {
        name: datasets.Dataset.from_list(FORMS["conversational"][at::2])
        for at, name in enumerate(("train", "test"))
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    data = load(tmp_path / "saved", validation=0.2)
    assert len(data.test) == 20
    assert len(data.train) + len(data.validation) == 20
    assert any("no validation rows" in note for note in data.describe())


def test_longer_conversations_are_kept_whole(tmp_path: Path) -> None:
    said = {
        "prompt": [user("a")],
        "chosen": [bot("b"), user("c"), bot("d")],
        "rejected": [bot("b"), user("c"), bot("e")],
    }
    rows = [said | {"prompt": [user(f"a{i}")]} for i in range(20)]
    found = load(write(tmp_path / "x.jsonl", rows)).train[0]
    assert len(found.prompt) == 1
    assert [m["content"] for m in found.chosen] == ["b", "c", "d"]
    rows = [
        {"chosen": [*row["prompt"], *row["chosen"]], "rejected": [*row["prompt"], *row["rejected"]]}
        for row in rows
    ]
    found = load(write(tmp_path / "y.jsonl", rows)).train[0]
    assert [m["content"] for m in found.prompt][1:] == ["b", "c"]
    assert (found.chosen, found.rejected) == ("d", "e")


def test_paired_problems() -> None:
    data = load("paired:worked-sums?size=30&validation=5&test=5")
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 5, 5)
    for row in data.train:
        one, other = (int(n) for n in row.prompt.split("+"))
        assert row.chosen.endswith(f";{one + other}")
        assert not row.rejected.endswith(f";{one + other}")


def test_what_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    row = FORMS["standard"][0]
    write(
        folder / "train.jsonl",
        [
            row,
            row | {"chosen": "green", "rejected": "blue"},
            row | {"rejected": "blue"},
            *FORMS["standard"][1:],
        ],
    )
    write(folder / "test.jsonl", [row, *FORMS["standard"][:1]])
    write(folder / "validation.jsonl", [{"prompt": "sea?", "chosen": "blue", "rejected": "red"}])
    lines = "\n".join(load(folder).describe())
    assert "1 row whose two answers are the same" in lines
    assert "1 pair occurs in both directions" in lines
    assert "prompts are also in train" in lines


def test_a_split_that_gets_no_row_is_said(tmp_path: Path) -> None:
    towns = ("rome", "paris", "oslo", "lima", "cairo", "delhi", "kyoto", "quito")
    rows = [
        {"prompt": f"what does {towns[n % 8]} sell?", "chosen": f"blue {n}", "rejected": "red"}
        for n in range(40)
    ]
    path = write(tmp_path / "few.jsonl", rows)
    few = load(path)
    assert [len(few.validation), len(few.test)] == [5, 0]
    (empty,) = (line for line in few.describe() if "no row went to" in line)
    assert empty.startswith("no row went to test: rows of a prompt stay together")
    assert "no row went to" not in "".join(load(path, validation=0.0, test=0.0).describe()), "none was wanted"


def test_long_chosen_answers_are_pointed_out(tmp_path: Path) -> None:
    rows = [row | {"chosen": "a clear blue"} for row in FORMS["standard"]]
    assert any("length alone" in line for line in load(write(tmp_path / "x.jsonl", rows)).describe())


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([{"prompt": "a", "chosen": "b"}], {}, "nothing in 'rejected'"),
        ([{"prompt": "a", "better": "b", "rejected": "c"}], {"chosen": "beter"}, "did you mean 'better'"),
        ([{"prompt": "a", "chosen": "b", "rejected": ""}], {}, "nothing in 'rejected'"),
        ([{"prompt": "a", "chosen": "b", "rejected": "b"}] * 30, {}, "two different answers"),
        ([{"chosen": "x", "rejected": "y"}], {}, "no 'prompt'"),
        ([{"prompt": "a", "chosen": "b", "rejected": [bot("c")]}], {}, "both the same way"),
        (
            [{"chosen": [user("a"), bot("b")], "rejected": [user("z"), bot("c")]}],
            {},
            "differ first in a message of the user",
        ),
        ([{"chosen": [user("a")], "rejected": [user("b")]}], {}, "end with a message of the assistant"),
        ([{"prompt": [{"text": "a"}], "chosen": "b", "rejected": "c"}], {}, "expected messages"),
        ([{"prompt": 3, "chosen": "b", "rejected": "c"}], {}, "the prompt is 3"),
        ([{"prompt": "a", "completion": "b", "label": "maybe"}], {}, "true or false"),
        ([{"prompt": "a", "completion": "", "label": 1}], {}, "the answer is ''"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], {"validation": 0.9, "test": 0.2}, "leave some"),
        (
            [{"prompt": f"{i}", "chosen": "b", "rejected": "c"} for i in range(30)]
            + [{"prompt": "a", "completion": "b", "label": 1}],
            {},
            "mixes pairs",
        ),
        (FORMS["standard"], {"max_characters": 3}, "no training row"),
    ],
)
def test_wrong_input_teaches(tmp_path: Path, rows: list[dict], options: dict, says: str) -> None:
    with pytest.raises(CounterpointError, match=says):
        load(write(tmp_path / "x.jsonl", rows), **options)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("x.jsonl", "", "no rows"), ("x.jsonl", "{", "line 1"), ("x.txt", "a", "ends in")],
)
def test_wrong_files_teach(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CounterpointError, match=says):
        load(tmp_path / name)


def test_nothing_there() -> None:
    with pytest.raises(CounterpointError, match="no data at"):
        load("/nowhere/at/all")


def test_described_things_are_counted_and_as_long_as_each_other() -> None:
    from counterpoint.data.language.described import quality

    data = load("described-things?size=60&validation=10&test=10")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [40, 10, 10]
    for row in (*data.train, *data.test):
        better, worse = (quality(str(row.prompt), str(text)) for text in (row.chosen, row.rejected))
        assert better - worse == row.margin
        assert row.margin > 0
        assert abs(str(row.chosen).count(",") - str(row.rejected).count(",")) <= 1
    turned = load("described-things?size=400&validation=10&test=10&flipped=0.5").train
    wrong = sum(
        quality(str(r.prompt), str(r.chosen)) < quality(str(r.prompt), str(r.rejected)) for r in turned
    )
    assert 0.4 < wrong / len(turned) < 0.6
    assert (
        quality("describe kim red dog long:", " it is red, it is blue, it is with kim, it has long ear") == 0
    )
    for spec, says in [
        ("described-things?siz=3", "did you mean 'size'"),
        ("described-things?size=3", "above validation"),
    ]:
        with pytest.raises(CounterpointError, match=says):
            load(spec)
