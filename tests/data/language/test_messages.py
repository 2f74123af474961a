"""What stands in rows of problems and preferences as people have them: parts, null, numbers, calls, several turns."""

import json

import pytest

from counterpoint.data.language import preferences, problems
from counterpoint.errors import CounterpointError


def save(path, row, count=40):
    lines = [json.dumps(row).replace("#", str(number)) for number in range(count)]
    path.write_text("\n".join(lines))
    return path


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


PARTS = [{"type": "text", "text": "#+1"}, {"type": "text", "text": "=", "image": None}]


def test_parts_of_text_are_joined(tmp_path):
    row = {"prompt": [turn("user", PARTS)], "completion": [turn("assistant", PARTS)]}
    data = problems.load(save(tmp_path / "a.jsonl", row))
    first = data.train[0]
    assert (first.question, first.solution) == ("0+1=", "0+1=")
    row = {"messages": [turn("system", "be brief"), turn("user", PARTS), turn("assistant", PARTS)]}
    first = problems.load(save(tmp_path / "b.jsonl", row)).train[0]
    assert first.prompt == [turn("system", "be brief"), turn("user", first.question)]
    row = {"prompt": "#", "chosen": [turn("assistant", PARTS)], "rejected": [turn("assistant", "no")]}
    pair = preferences.load(save(tmp_path / "c.jsonl", row)).train[0]
    assert pair.chosen.endswith("+1=")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": [turn("user", None)], "completion": "x"}, "content is null"),
        ({"prompt": [turn("user", [])], "completion": "x"}, r"content is \[\]"),
        ({"prompt": [turn("user", [{"type": "image"}])], "completion": "x"}, "no text: {'type': 'image'}"),
        ({"prompt": [turn("user", {"a": 1})], "completion": "x"}, "content is {'a': 1}"),
        ({"prompt": ["#"], "completion": "x"}, "expected messages"),
        ({"prompt": {"q": "#"}, "completion": "x"}, "a prompt must be text"),
        ({"prompt": "#", "completion": [turn("user", "b")]}, "messages of user"),
        ({"prompt": "#", "answer": {"value": 3}}, "the answer is {'value': 3}; expected text"),
        ({"prompt": "#", "answer": ["3"]}, "expected messages"),
        ({"messages": [turn("user", "#"), turn("assistant", None)]}, "content is null"),
        ({"prompt": "#", "completion": "x", "images": ["a.png"]}, "there is no picture a.png"),
        (
            {"prompt": [turn("user", "#")], "completion": "x", "tools": "no JSON"},
            "tools is 'no JSON'; expected a list",
        ),
    ],
)
def test_what_is_no_text_is_refused_by_row(tmp_path, row, says):
    with pytest.raises(CounterpointError, match=f"row 1: .*{says}"):
        problems.load(save(tmp_path / "a.jsonl", row))


@pytest.mark.parametrize(
    ("better", "says"),
    [
        ([turn("assistant", None)], "content is null"),
        ([turn("assistant", "  ")], "expected text"),
        ([turn("user", "a")], "must end with a message of the assistant"),
    ],
)
def test_answers_of_preferences(tmp_path, better, says):
    row = {"prompt": "#", "chosen": better, "rejected": [turn("assistant", "no")]}
    with pytest.raises(CounterpointError, match=f"row 1: .*{says}"):
        preferences.load(save(tmp_path / "a.jsonl", row))


def test_numbers_are_text_without_a_point(tmp_path):
    data = problems.load(save(tmp_path / "a.jsonl", {"prompt": "# and 2", "answer": 3.0}))
    assert (data.train[0].answer, data.train.scorer) == ("3", "number")
