"""Problems from files as people have them, splits that do not leak, scorers, and lessons for what cannot be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.answer import final_answer
from counterpoint.data.language.problems import Problem, Problems, load
from counterpoint.errors import CounterpointError
from counterpoint.judges.scorers import exact, numeric
from counterpoint.judges.verifier import Verifier


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


FORMS: dict[str, dict[str, Any]] = {
    "prompt-completion": {"prompt": "1+1=", "completion": "one more than one; 2", "answer": "2"},
    "conversational": {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "1+1="}],
        "completion": [{"role": "assistant", "content": "one more than one; 2"}],
        "answer": "2",
    },
    "messages": {
        "messages": [
            {"role": "user", "content": "1+1="},
            {"role": "assistant", "content": "one more than one; 2"},
        ],
        "answer": "2",
    },
    "question-answer": {"question": "1+1=", "answer": "one more than one; 2\n#### 2"},
    "instruction": {"instruction": "1+1=", "input": "", "output": "one more than one; 2", "answer": "2"},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_rows(tmp_path: Path, form: str) -> None:
    data = load(lines(tmp_path / "x.jsonl", [FORMS[form]]), validation=0, test=0)
    (row,) = data.train
    assert row.question == "1+1="
    assert row.solution.startswith("one more than one; 2")
    assert row.answer == "2"
    assert data.train.scorer == "number"
    assert Verifier(data.train.scorer).score("It is 2.", row) == 1.0


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "saved"])
def test_kinds_of_files_hold_the_same_problems(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": f"{n}+1=", "completion": f"so {n + 1}", "answer": str(n + 1)} for n in range(30)]
    path = tmp_path / f"x.{suffix}"
    if suffix == "jsonl":
        lines(path, rows)
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    elif suffix == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif suffix == "saved":
        pytest.importorskip("datasets").Dataset.from_list(rows).save_to_disk(str(path))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    data = load(path)
    assert len(data.train) + len(data.validation) + len(data.test) == 30
    expected = load(lines(tmp_path / "same.jsonl", rows))
    assert data.fingerprint() == expected.fingerprint()


def test_folder_of_splits_and_shared_prompts(tmp_path: Path) -> None:
    for name, start in (("train-00000-of-00001", 0), ("val", 100), ("test", 15)):
        lines(
            tmp_path / f"{name}.jsonl",
            [{"prompt": f"p{n}", "answer": f"{n}"} for n in range(start, start + 20)],
        )
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 20, 20]
    assert any("test: 5 prompts are also in train" in line for line in data.describe())


def test_one_file_is_split_by_prompt_so_that_repeats_stay_together(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n % 40}", "answer": "x"} for n in range(200)]
    data = load(lines(tmp_path / "x.jsonl", rows), validation=0.2, test=0.2)
    parts = [{row.question for row in part} for part in (data.train, data.validation, data.test)]
    assert all(parts)
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert any("more than once" in line for line in data.describe())


def test_rows_by_index_tensor_and_named_columns(tmp_path: Path) -> None:
    rows = [
        {"ask": "Paris or Rome?", "gold": "Paris", "tip": "France"},
        {"ask": "Oslo?", "gold": "Oslo", "tip": ""},
    ]
    path = lines(tmp_path / "x.jsonl", rows)
    data = load(path, prompt="ask", answer="gold", hint="tip", validation=0, test=0)
    assert [row.answer for row in data.train[torch.tensor([1, 0])]] == ["Oslo", "Paris"]
    assert data.train[0].hint == "France"
    assert data.train.scorer == "exact"
    assert data.train[0].reference == "Paris"


def test_long_rows_are_left_out_only_when_asked_and_then_told(tmp_path: Path) -> None:
    rows = [{"prompt": "p" * n, "answer": "1"} for n in (5, 500)]
    path = lines(tmp_path / "x.jsonl", rows)
    assert len(load(path, validation=0, test=0).train) == 2
    data = load(path, validation=0, test=0, max_characters=100)
    assert len(data.train) == 1
    assert "train: left out 1 row longer than 100 characters" in data.describe()


@pytest.mark.parametrize(
    ("content", "options", "lesson"),
    [
        ("", {}, "holds no rows"),
        ('{"words": "a"}', {}, "no prompt among the columns words"),
        (
            '{"prompt": "", "completion": "a"}',
            {},
            "row 1: nothing in 'prompt' among the columns prompt, completion",
        ),
        ('{"words": null}', {"prompt": "words"}, "row 1: nothing in 'words' among"),
        ('{"prompt": "a"}\n{"prompt": ', {}, "line 2"),
        ("[1]", {}, "expected a JSON object"),
        ('{"prompt": "a"}', {"answer": "gold"}, "no column 'gold' for answer"),
        ('{"prompt": 3}', {}, "got int"),
        ('{"prompt": [{"text": "a"}]}', {}, "'role'"),
        ('{"prompt": "a"}', {"scorer": "nmber"}, "did you mean 'number'"),
        ('{"prompt": "a"}', {"validation": 0.6, "test": 0.5}, "leave some for training"),
        (
            '{"prompt": "aaaa"}',
            {"validation": 0, "test": 0, "max_characters": 1},
            "no training problem is left",
        ),
    ],
)
def test_lessons(tmp_path: Path, content: str, options: dict[str, Any], lesson: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(CounterpointError, match=lesson):
        load(path, **options)


def test_lessons_of_places(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="there is no data at"):
        load(tmp_path / "nothing.jsonl")
    with pytest.raises(CounterpointError, match=r"holds no \.jsonl"):
        load(tmp_path)
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(CounterpointError, match="expected one of"):
        load(tmp_path / "x.docx")
    lines(tmp_path / "test.jsonl", [{"prompt": "a"}])
    with pytest.raises(CounterpointError, match="no train split"):
        load(tmp_path)


def test_scorers() -> None:
    assert final_answer("first \\boxed{3} then \\boxed{4}") == "4"
    assert final_answer("Answer: 3\nNo.\nAnswer: 4") == "4"
    assert numeric("12 apples and 3,000.", "3000") == 1.0
    assert numeric("It is 3000 or 2", "3000") == 0.0
    assert numeric("-4", "4") == 0.0
    assert exact("  PARIS. ", "Paris") == 1.0


def test_puzzles_and_corrupted_demonstrations() -> None:
    clean, odd = load("worked-sums?size=200"), load("worked-sums?size=200&corrupt=0.25")
    right = [row.solution.endswith(f";{row.answer}") for row in odd.train]
    assert sum(right) == 150
    assert [row.prompt for row in clean.train] == [row.prompt for row in odd.train]
    assert clean.test.rows == odd.test.rows
    assert all(Verifier(clean.train.scorer).score(row.solution, row) == 1 for row in clean.train)
    sorting = load("worked-sorting?size=50&digits=5")
    assert all(Verifier(sorting.train.scorer).score(row.solution, row) == 1 for row in sorting.train)
    for spec, lesson in (
        ("worked-sums?digit=3", "did you mean 'digits'"),
        ("worked-sums?digits=1", "lower size"),
    ):
        with pytest.raises(CounterpointError, match=lesson):
            load(spec)


def test_reasoning_gym_problems_are_distinct_and_scored_by_their_task() -> None:
    pytest.importorskip("reasoning_gym")
    spec = "reasoning-gym:basic_arithmetic?size=30&validation=5&test=5&max_terms=2&max_digits=1"
    data = load(spec)
    asked = [row.question for part in (data.train, data.validation, data.test) for row in part]
    assert len(asked) == len(set(asked)) == 40
    row = data.train[0]
    assert Verifier(data.train.scorer).score(f"I would say {row.answer}.", row) == 1.0
    assert Verifier(data.train.scorer).score("no idea", row) < 1.0
    assert data.fingerprint() == load(spec).fingerprint()
    worked = load("reasoning-gym:gsm_symbolic?size=2&validation=1&test=1").train[0]
    assert worked.answer in worked.solution
    for bad, lesson in (
        ("reasoning-gym:basic_arithmetik", "did you mean 'basic_arithmetic'"),
        ("reasoning-gym:basic_arithmetic?max_term=2", "did you mean 'max_terms'"),
        ("reasoning-gym:basic_arithmetic?size", "not name=value"),
        ("reasoning-gym:basic_arithmetic?max_terms=0", "refuses"),
    ):
        with pytest.raises(CounterpointError, match=lesson):
            load(bad)


def test_a_split_is_scored_only_when_every_problem_has_an_answer() -> None:
    assert not Problems([Problem("a", answer="1"), Problem("b")], "exact").scored
    assert not Problems([], "exact").scored


def test_what_stands_beside_an_instruction_is_read_or_named(tmp_path):
    rows = [
        {"instruction": f"do {n}", "context": "this", "response": "done", "category": "qa", "system": "briefly", "history": [["a?", "b."]]}
        for n in range(30)
    ]  # fmt: skip
    rows[0] |= {"context": "", "system": None, "history": []}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load(file, validation=0, test=0)
    assert data.train[0].prompt == "do 0"
    assert list(data.train[1].prompt) == [
        {"role": "system", "content": "briefly"},
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "b."},
        {"role": "user", "content": "do 1\nthis"},
    ]
    assert "no row is read from the column category" in data.describe()
    assert load(file, validation=0, test=0, hint="context").train[1].prompt[-1]["content"] == "do 1"
    rows[3]["history"] = ["what?"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CounterpointError, match="row 4: 'history' is .*expected earlier turns"):
        load(file)
