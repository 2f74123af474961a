"""Mathematical sameness, multiple choice and form: what counts as the same, what never ends, what is not installed."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import pytest

from counterpoint.data.language.problem import Problem
from counterpoint.errors import CounterpointError, MissingExtra
from counterpoint.judges import mathematical
from counterpoint.judges.answer_format import AnswerFormat
from counterpoint.judges.multiple_choice import choice, option
from counterpoint.judges.scorers import scorer
from counterpoint.judges.verifier import Verifier

SAME = [
    ("so it is $\\frac{1}{2}$", "0.5"),
    ("Answer: 1/2", "0.5"),
    ("\\boxed{x^2+2x+1}", "(x+1)^2"),
    ("Answer: x**2", "x^2"),
    ("the answer is: {1,2,3}", "\\{3,2,1\\}"),
    ("1,000", "1000"),
    ("Answer: 2*sqrt(2)", "\\sqrt{8}"),
    ("I got 3 and then 4", "4"),
]
OTHER = [
    ("it is 7", "8"),
    ("", "3"),
    ("\\boxed{x^2}", "x^3"),
    ("I do not know", "1"),
    ("Answer: 1/3", "0.33"),
]


@pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="math-verify is an extra")
class TestMathematical:
    @pytest.mark.parametrize(("given", "wanted"), SAME)
    def test_the_same(self, given: str, wanted: str) -> None:
        assert scorer("math")(given, Problem("", answer=wanted)) == 1.0

    @pytest.mark.parametrize(("given", "wanted"), OTHER)
    def test_another(self, given: str, wanted: str) -> None:
        assert scorer("math")(given, Problem("", answer=wanted)) == 0.0

    def test_what_never_ends_is_stopped_and_the_next_is_compared(self) -> None:
        worker = mathematical.Worker()
        assert worker.same("4", "4")
        began = time.monotonic()
        assert not worker.same("\\boxed{9^{9^{9^9}}}", "3", seconds=1.0)
        assert time.monotonic() - began < 5
        assert worker.same("\\boxed{\\frac{2}{4}}", "0.5")
        worker.stop()

    def test_one_that_never_ends_after_another_waits_for_the_library_and_no_longer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker, waits = mathematical.Worker(), []
        line = mathematical.Worker._line

        def noted(self: mathematical.Worker, process: Any, seconds: float) -> str:
            waits.append(seconds)
            return line(self, process, seconds)

        monkeypatch.setattr(mathematical.Worker, "_line", noted)
        for _ in range(2):
            assert not worker.same("\\boxed{1000000!!!!}", "3", seconds=1.0)
        assert waits == [mathematical.FIRST_SECONDS, 1.0] * 2
        worker.stop()

    def test_as_a_judge(self) -> None:
        answers = [[{"ids": [], "text": text, "ended": True} for text in ("Answer: 2/4", "0.6")]]
        assert Verifier("math")([Problem("half", answer="1/2")], answers).rewards.tolist() == [[1.0, 0.0]]


def test_without_the_library_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"counterpoint\[math\]"):
        mathematical.Worker().same("1", "1")


QUESTION = "Which is a city?\nA. blue\nB. Paris\nC) seven\n(D) of"


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        ("B", "B"), ("(b)", "B"), ("B.", "B"), ("The answer is B", "B"), ("Answer: (C)", "C"), ("**Answer:** B", "B"),
        ("A is wrong, so I choose option C", "C"), ("\\boxed{D}", "D"), ("\\boxed{\\text{D}}", "D"), ("B) Paris", "B"),
        ("Answer: Paris.", "B"), ("seven", "C"), ("I do not know", None), ("", None), ("A city", None), ("the answer is a city", None),
    ],
)  # fmt: skip
def test_the_option_that_is_named(completion: str, letter: str | None) -> None:
    assert option(completion, QUESTION) == letter


def test_choices_as_a_scorer() -> None:
    problem = Problem(QUESTION, answer="B")
    assert [scorer("choice")(text, problem) for text in ("Answer: B", "Paris", "Answer: A", "?")] == [
        1,
        1,
        0,
        0,
    ]
    assert choice("Answer: B", "Paris", QUESTION) == 1.0
    assert choice("?", "?", QUESTION) == 0.0


def test_form_alone() -> None:
    texts = [
        "<think>hm</think><answer>4</answer>",
        "<answer>4</answer>",
        "4",
        "Answer: 4",
        "\\boxed{4}",
        '{"a": 1}',
    ]
    answers = [[{"ids": [], "text": text, "ended": True} for text in texts]]

    def rewards(pattern: str) -> list[float]:
        return AnswerFormat(pattern)([Problem("?")], answers).rewards[0].tolist()

    assert rewards("tags") == [1, 0, 0, 0, 0, 0]
    assert rewards("answer") == [0, 0, 0, 1, 0, 0]
    assert rewards("boxed") == [0, 0, 0, 0, 1, 0]
    assert rewards(r"\d+") == [0, 0, 1, 0, 0, 0]
    cut = [[{"ids": [], "text": "4", "ended": False}]]
    assert AnswerFormat(r"\d+")([Problem("?")], cut).rewards.tolist() == [[0.0]]
    with pytest.raises(CounterpointError, match="no regular expression"):
        AnswerFormat("(")
