"""A key that stands twice in one object is refused by row, however deep the object lies and whatever the file's form."""

import json

import pytest

from counterpoint.data.tables import read_table
from counterpoint.errors import CounterpointError

GOOD = {"prompt": "1+1", "answer": "2", "meta": {"a": 1}}
TWICE = '{"prompt": "1+1", "answer": "2", "answer": "3"}'
DEEP = '{"prompt": "1+1", "messages": [{"role": "user", "content": "a", "role": "assistant"}]}'


@pytest.mark.parametrize(("row", "key"), [(TWICE, "answer"), (DEEP, "role"), ('{"a": 1, "\\u0061": 2}', "a")])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_json_lines(tmp_path, row, key, ending):
    path = tmp_path / "a.jsonl"
    path.write_bytes((ending.join([json.dumps(GOOD), "", row, json.dumps(GOOD)]) + ending).encode())
    with pytest.raises(
        CounterpointError, match=f"a.jsonl, line 3: the key '{key}' stands twice in one object; keep one"
    ):
        read_table(path)


@pytest.mark.parametrize("row", [TWICE, DEEP])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list(tmp_path, row, indent):
    path = tmp_path / "a.json"
    good = json.dumps(GOOD, indent=indent)
    path.write_text(f"[{good},\n{good},{row}, {good}]")
    with pytest.raises(CounterpointError, match=r"a\.json, row 3: the key '(answer|role)' stands twice"):
        read_table(path)


def test_one_object_and_lines_in_a_json_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(TWICE)
    with pytest.raises(CounterpointError, match="row 1: the key 'answer'"):
        read_table(path)
    path.write_text(json.dumps(GOOD) + "\n" + TWICE + "\n")
    with pytest.raises(CounterpointError, match="line 2: the key 'answer'"):
        read_table(path)


def test_the_same_key_in_two_objects_is_fine(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": {"b": 1}, "b": 2}\n{"b": {"a": 1}, "a": 2}\n')
    assert list(read_table(path).rows()) == [{"a": {"b": 1}, "b": 2}, {"b": {"a": 1}, "a": 2}]
