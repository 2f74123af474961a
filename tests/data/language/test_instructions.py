"""Instructions that a program checks: each kind followed and not, wrong files, the scorer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint.data.language.instructions import CHECKS, answer_of, each_followed, follows
from counterpoint.data.language.problems import load
from counterpoint.errors import CounterpointError
from counterpoint.judges.scorers import scorer

EXAMPLES: list[tuple[str, dict[str, Any], str, str]] = [
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "one two three", "one two"),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "one two", "one two three"),
    ("length_constraints:number_words", {"relation": "exactly", "num_words": 2}, "one two", "one"),
    ("length_constraints:number_words", {"relation": "at most", "num_words": 2}, "one two", "one two three"),
    ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "One. Two!", "One, two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    ("length_constraints:number_characters", {"relation": "exactly", "num_characters": 3}, " abc ", "ab"),
    ("change_case:english_capital", {}, "YES, 3 TIMES.", "Yes"),
    ("change_case:english_lowercase", {}, "yes, 3 times.", "Yes"),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "GO ON now", "Go ON"),
    ("keywords:existence", {"keywords": ["sun", "moon"]}, "The Sun and the moon.", "sunny moon"),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "rainbow", "Rain."),
    ("keywords:frequency", {"keyword": "a b", "frequency": 2, "relation": "at least"}, "a b, A B", "a b"),
    ("keywords:letter_frequency", {"letter": "Q", "let_frequency": 2, "let_relation": "at least"}, "qQ", "q"),
    ("punctuation:no_comma", {}, "a; b", "a, b"),
    ("startend:start_checker", {"start_phrase": "Dear"}, "dear you", "my dear"),
    ("startend:end_checker", {"end_phrase": "Yours."}, "so\nyours. ", "yours. Bye"),
    ("startend:quotation", {}, '"so"', '"so" it is'),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n* b\n* c"),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A title>>\ntext", "<< >> text"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and b"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] of [place]", "[name]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "good", "bad"), EXAMPLES, ids=[each[0] for each in EXAMPLES])
def test_each_kind_is_followed_or_not(name: str, given: dict[str, Any], good: str, bad: str) -> None:
    answer = answer_of([name], [given], "row 1")
    assert each_followed(good, answer) == [True]
    assert each_followed(bad, answer) == [False]
    assert each_followed("", answer) == each_followed("  \n", answer) == [False]


def test_every_kind_has_an_example() -> None:
    assert {name for name, *_ in EXAMPLES} == set(CHECKS)


def test_all_instructions_of_a_prompt_count() -> None:
    answer = answer_of(["punctuation:no_comma", "change_case:english_lowercase"], [{}, {}], "row 1")
    assert (follows("fine", answer), follows("Fine", answer), follows("fine, so", answer)) == (1.0, 0.0, 0.0)
    with pytest.raises(CounterpointError, match="give the rows instruction_id_list"):
        follows("x", "42")
    assert scorer("instructions")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]},
            "did you mean 'punctuation:no_comma'",
        ),
        ({"instruction_id_list": ["language:response_language"], "kwargs": [{}]}, "no program here checks"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, "'keywords' in them"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}, {}]}, "1 instructions .* 2 sets"),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"relation": "atleast", "num_words": 2}],
            },
            "did you mean 'at least'",
        ),
    ],
)
def test_wrong_rows_are_one_message(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Go.", **row}))
    with pytest.raises(CounterpointError, match=message):
        load(tmp_path / "rows.jsonl")
