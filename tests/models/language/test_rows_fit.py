"""What a model cannot read is refused before the first step, with its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.data.language import problems
from counterpoint.errors import CounterpointError
from counterpoint.models.language.characters import TEMPLATE, tiny
from counterpoint.models.language.rows_fit import check_rows, lengths


def test_a_prompt_and_answer_that_pass_the_positions_together() -> None:
    model = tiny(length=24)
    check_rows(model, "train", [("1+1=", ["2"]), ("x" * 10, ["y" * 11])])
    with pytest.raises(CounterpointError, match=r"train, row 2: .* 24 positions"):
        check_rows(model, "train", [("1+1=", ["2"]), ("x" * 14, ["y" * 14])])


def test_a_row_may_have_every_position_and_its_longest_answer_counts() -> None:
    model = tiny(length=24)
    [row] = lengths(model, "train", [("1+1=", ["2", "y" * 9])])
    assert row.whole == len(model.rendered([("1+1=", "y" * 9)])[0].ids)
    longest = "y" * (9 + 24 - row.whole)
    check_rows(model, "train", [("1+1=", ["2", longest])])
    with pytest.raises(CounterpointError, match=r"train, row 1: .* 24 positions"):
        check_rows(model, "train", [("1+1=", ["2", longest + "y"])])


def test_a_turn_that_the_template_refuses() -> None:
    model = tiny()
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    model.tokenizer.chat_template = refusal + TEMPLATE
    system = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    with pytest.raises(CounterpointError, match=r"test, row 2: .*system, user.*no system role"):
        check_rows(model, "test", [("q", ["a"]), (system, ["a"])])


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": [{"role": "user", "content": null}], "completion": "a"}',
        '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null}]}',
        '{"prompt": [{"role": "user", "content": [{"type": "image"}]}], "completion": "a"}',
    ],
)
def test_what_would_be_lost_is_refused_with_its_row(row: str, tmp_path: Path) -> None:
    good = '{"prompt": "q", "completion": "a"}\n'
    (tmp_path / "rows.jsonl").write_text(good + row + "\n")
    with pytest.raises(CounterpointError, match="row 2"):
        problems.load(tmp_path / "rows.jsonl")
