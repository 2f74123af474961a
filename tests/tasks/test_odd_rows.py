"""Rows as other programs leave them: named by their own number, spelt otherwise, calls that a template drops, unknown characters."""

from __future__ import annotations

import json
import logging
import string
from pathlib import Path
from typing import Any

import pytest

from counterpoint.data.language import preferences, problems
from counterpoint.errors import CounterpointError
from counterpoint.models.language import templates, tiny
from counterpoint.pairs.demonstrations import require_references
from counterpoint.tasks import recognise
from counterpoint.tasks.task import task

GOOD = [{"prompt": f"{n}+1=", "completion": f"{n + 1}"} for n in range(40)]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def save(path: Path, row: dict[str, Any], at: int, good: list[dict[str, Any]] = GOOD) -> Path:
    """A file with one row among good ones."""
    path.write_text("\n".join(map(json.dumps, [*good[:at], row, *good[at:]])))
    return path


def test_a_row_has_the_number_of_its_file_whatever_split_it_fell_into(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"prompt": "p" * 600, "completion": "x"}, 17)
    with pytest.raises(CounterpointError, match=r"a\.jsonl, row 18: a prompt of 602 tokens"):
        task("problems").fitted(tiny(), problems.load(path))
    answers = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no"} for row in GOOD]
    path = save(tmp_path / "b.jsonl", {"prompt": "1?", "chosen": "c" * 600, "rejected": "d"}, 23, answers)
    with pytest.raises(CounterpointError, match=r"b\.jsonl, row 24: a prompt of"):
        task("preferences").fitted(tiny(), preferences.load(path))
    ranked = {"prompt": "1?", "completions": ["a", "b" * 600, "c"]}
    path = save(tmp_path / "c.jsonl", ranked, 9, answers)
    with pytest.raises(CounterpointError, match=r"c\.jsonl, row 10: a prompt of"):
        task("preferences").fitted(tiny(), preferences.load(path))


def test_a_missing_answer_is_named_by_its_row_in_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", {"prompt": "9+9=", "completion": None}, 30)
    data = problems.load(path, validation=0.2, test=0.2)
    missing = [
        split for split in (data.train, data.validation, data.test) if any(not r.reference for r in split)
    ]
    with pytest.raises(
        CounterpointError, match=r"1 of \d+ training problems has none, first .*a\.jsonl, row 31;"
    ):
        require_references(missing[0].rows, "sft")
    with pytest.raises(CounterpointError, match="first row 2;"):
        require_references([problems.Problem("1", "2"), problems.Problem("3")], "sft")


def test_conversations_as_json_in_a_cell_of_text(tmp_path: Path) -> None:
    rows = [[user(f"{n}+1="), assistant(str(n + 1))] for n in range(40)]
    path = tmp_path / "talks.csv"
    cells = [json.dumps(row).replace('"', '""') for row in rows]
    path.write_text("\n".join(["id,messages", *(f'{n},"{cell}"' for n, cell in enumerate(cells))]))
    assert recognise.kind_of(str(path)) == "problems"
    data = problems.load(path, validation=0, test=0)
    assert (data.train[3].question, data.train[3].solution) == ("3+1=", "4")


@pytest.mark.parametrize("given", [[], None, "", "hello", "[{", 3, {"role": "user"}])
def test_a_column_of_conversations_without_one(given: Any, tmp_path: Path) -> None:
    good = [{"messages": [user(row["prompt"]), assistant(row["completion"])]} for row in GOOD]
    path = save(tmp_path / "a.jsonl", {"messages": given}, 5, good)
    with pytest.raises(CounterpointError, match=r"a\.jsonl, row 6: '?messages'? is .*expected a list"):
        problems.load(path)


def test_roles_however_they_are_spelt(tmp_path: Path) -> None:
    talk = [
        {"role": "System", "content": "s"},
        {"role": " USER", "content": "q"},
        {"role": "Model", "content": "a"},
    ]
    path = save(tmp_path / "a.jsonl", {"messages": talk}, 0)
    first = next(row for row in problems.load(path, validation=0, test=0).train if row.question == "q")
    assert [message["role"] for message in first.prompt] == ["system", "user"]
    assert first.solution == "a"


@pytest.mark.parametrize("calls", [{"name": "w"}, "w", ["w"], [{"function": {}}], [{"function": "w"}], [[]]])
def test_calls_that_are_no_calls(calls: Any, tmp_path: Path) -> None:
    row = {"messages": [user("w?"), assistant("x", tool_calls=calls)]}
    path = save(tmp_path / "a.jsonl", row, 5)
    with pytest.raises(CounterpointError, match=r"a\.jsonl, row 6: tool_calls is .*expected a list of"):
        problems.load(path)


@pytest.mark.parametrize("template", ["", "chatml", "roles"])
def test_a_call_that_the_template_drops_is_refused_though_its_name_stands_elsewhere(template: str) -> None:
    model = tiny()
    if template:
        model.tokenizer.chat_template = templates.named(template)
    call = {"function": {"name": "search", "arguments": {}}}
    for content in (None, "let me search"):
        with pytest.raises(
            CounterpointError, match="calls the tool 'search', and the model's chat template does not"
        ):
            model.rows([[user("search for me")]], [[assistant(content, tool_calls=[call])]])


@pytest.mark.parametrize("template", ["", "chatml", "roles"])
def test_messages_of_weight_0_are_not_learnt(template: str) -> None:
    model = tiny()
    if template:
        model.tokenizer.chat_template = templates.named(template)

    def learnt(first: float, last: float) -> str:
        talk = [assistant("bcd", weight=first), user("and?"), assistant("efg", weight=last)]
        _, completions = model.rows([[user("a")]], [talk])
        return model.tokenizer.decode(completions.ids[completions.authored])

    assert "bcd" in learnt(1, 0)
    assert "efg" not in learnt(1, 0)
    assert "bcd" not in learnt(0, 1)
    assert "efg" in learnt(0, 1)
    assert "bcd" in learnt(1, 1)
    assert "efg" in learnt(1, 1)
    with pytest.raises(CounterpointError, match='each has "weight": 0'):
        learnt(0, 0)


def test_rows_with_characters_that_the_tokenizer_does_not_know_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "a.jsonl", {"prompt": "東?", "completion": "京"}, 5)
    data = problems.load(path, validation=0, test=0)
    logging.getLogger("counterpoint").propagate = True
    line = "train: 1 of 41 rows holds characters that the model's tokenizer does not know"
    assert any(line in shown for shown in task("problems").preview(tiny(), data).lines)
    task("problems").fitted(tiny(), data)
    assert line in caplog.text


def test_what_the_template_alone_writes_is_no_unknown_character_of_a_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "a.jsonl", {"prompt": "b!", "completion": "a"}, 5)
    data = problems.load(path, validation=0, test=0)
    model = tiny(alphabet=string.ascii_letters + string.digits + "+=: ?")
    assert model.tokenizer.unk_token_id in model.prompt_ids(["b"])[0]  # the tilde that begins an answer
    logging.getLogger("counterpoint").propagate = True
    task("problems").fitted(model, data)
    assert "train: 1 of 41 rows holds characters" in caplog.text


@pytest.mark.parametrize(
    ("row", "token"),
    [
        ({"prompt": [user("what is </s> here")], "completion": "x"}, "</s>"),
        ({"messages": [user("a"), assistant("b<s>c")]}, "<s>"),
        ({"messages": [user("a"), assistant("b</s>"), user("c"), assistant("d</s>")]}, "</s>"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "1<pad>2"}]}], "completion": "x"}, "<pad>"),
        ({"prompt": "what is <unk>?", "completion": "x"}, "<unk>"),
        ({"prompt": "a", "completion": "one</s>two</s>"}, "</s>"),
    ],
)  # fmt: skip
def test_special_tokens_that_people_typed_are_said_once_with_the_row(
    tmp_path: Path, row: dict[str, Any], token: str
) -> None:
    path = save(tmp_path / "a.jsonl", row, 5)
    data = problems.load(path, validation=0, test=0)
    lines = [
        line for line in task("problems").preview(tiny(), data).lines if "special tokens of the model" in line
    ]
    assert len(lines) == 1
    assert "1 of 41 rows" in lines[0]
    assert f"a.jsonl, row 6: {token})" in lines[0]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": "its own end</s>"},
        {"prompt": "<s>1+1=~", "completion": "2</s>"},
        {"prompt": "a < b > c", "completion": "<s"},
        {"messages": [user("s>"), assistant("</ s>")]},
    ],
)
def test_what_a_template_wrote_and_what_only_looks_like_it_is_not_said(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    data = problems.load(save(tmp_path / "a.jsonl", row, 5), validation=0, test=0)
    shown = task("problems").preview(tiny(), data).lines
    assert not any("special tokens of the model" in line for line in shown)
