"""What a text names as its answer, and how answers are compared, in whatever format a row has them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from counterpoint.data.language import problems
from counterpoint.data.language.answer import answer_kind, final_answer
from counterpoint.data.language.problem import Problem
from counterpoint.judges.scorers import scorer
from counterpoint.judges.verifier import Verifier

needs_math = pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="extra math")
TALK = [{"role": "user", "content": "How many?"}]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She sold 48/2 = 24.\n#### 72", "72"),
        ("The answer is 72.", "72"),
        ("So the final answer is: 72", "72"),
        ("the answer is $1,250.50. Check it.", "1,250.50"),
        ("Answer:\n**72**", "72"),
        (r"Thus \boxed{72}.", "72"),
        (r"Thus \boxed{\frac{1}{\sqrt{2}}}, as \boxed{x} would not close \boxed{", "x"),
        (r"\boxed{\text{(B)}}", r"\text{(B)}"),
        (r"\fbox {7} then the answer is 9", "7"),
        ("yes", "yes"),
    ],
)
def test_what_a_text_names(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_one_kind_whatever_the_format(tmp_path: Path) -> None:
    """GSM8K's rows as a question, as prompt and completion, as messages, and as a sentence, are scored alike."""
    worked = "48/2 = 24, 48+24 = 72\n#### 72"
    forms = [
        {"question": "How many?", "answer": worked},
        {"prompt": "How many?", "completion": worked},
        {"prompt": TALK, "completion": [{"role": "assistant", "content": worked}]},
        {"messages": [*TALK, {"role": "assistant", "content": worked}]},
        {"prompt": "How many?", "completion": "The answer is 72."},
        {"prompt": "How many?", "completion": worked, "answer": worked},
    ]
    for number, row in enumerate(forms):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("\n".join([json.dumps(row)] * 4))
        data = problems.load(file, validation=0, test=0)
        assert (data.train[0].answer, data.train.scorer) == ("72", "number"), row
        judge = Verifier(data.train.scorer)
        assert [judge.score(text, data.train[0]) for text in ("it is 72.0", "#### 72", "7 and 2")] == [
            1,
            1,
            0,
        ]


@needs_math
def test_mixed_files_compare_by_the_kind_of_each_answer(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [
        {"prompt": str(at), "answer": answer} for at, answer in enumerate(["72", r"\frac{1}{2}", "Paris"])
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    data = problems.load(file, validation=0, test=0)
    assert data.train.scorer == "answer"
    assert "1 as numbers, 1 as formulas, 1 as text" in data.describe()[-1]
    judge = Verifier("answer")
    said = ["so 72.00", r"it is \boxed{0.5}", "Answer: paris."]
    assert [judge.score(text, row) for text, row in zip(said, data.train)] == [1, 1, 1]
    wrong = ["27", r"\boxed{\frac{3}{2}}", "Answer: Lyon"]
    assert [judge.score(text, row) for text, row in zip(wrong, data.train)] == [0, 0, 0]


def test_a_fraction_is_no_number() -> None:
    assert answer_kind(r"\frac{1}{2}") == "math"
    assert Verifier("number").score("#### 72", Problem("q", answer="72 apples")) == 1


def test_a_date_is_right_as_a_whole(tmp_path: Path) -> None:
    """Its last number alone says nothing: the day of another year is wrong."""
    rows = [
        {"prompt": "4 Oct 2025", "answer": "2025-10-04"},
        {"prompt": "1 pm", "answer": "13:00"},
        {"prompt": "4 Oct", "answer": "10/04/2025"},
    ]
    path = tmp_path / "dates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 10))
    data = problems.load(str(path))
    score = scorer(data.train.scorer)
    first, second, third = (Problem(row["prompt"], answer=row["answer"]) for row in rows)
    assert (score("2025-10-04", first), score("1999-01-04", first)) == (1, 0)
    assert (score("13:00", second), score("12:00", second)) == (1, 0)
    assert (score("10/04/2025", third), score("20/08/2025", third)) == (1, 0)
