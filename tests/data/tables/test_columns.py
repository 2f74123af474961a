"""A JSON file that holds columns instead of rows is refused with the call that writes rows; rows that look alike are read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from counterpoint.data.tables import read_table
from counterpoint.data.tables.on_disk import rows_on_disk
from counterpoint.errors import CounterpointError

LISTS = {"text": ["one", "two", "three"], "label": ["a", "b", "a"]}
BY_NUMBER = {name: {str(n): cell for n, cell in enumerate(column)} for name, column in LISTS.items()}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("columns", [LISTS, BY_NUMBER, {"text": ["one", None]}, {"x": {"0": 1, "7": 2}}])
def test_columns_are_refused_with_the_call_that_writes_rows(
    tmp_path: Path, columns: dict, indent: int | None, suffix: str
) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_text(json.dumps(columns, indent=indent))
    if suffix == ".jsonl" and indent:
        with pytest.raises(CounterpointError, match="line 1"):
            read_table(path)
        return
    with pytest.raises(CounterpointError, match=r"holds columns \(.*orient='records'"):
        read_table(path)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1+1", "choices": ["1", "2"]},
        {"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]},
        {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]},
        {"x": [1.0], "y": [2.0]},
        {"a": {"left": 1, "right": 2}},
    ],
)
def test_one_row_of_lists_is_a_row(tmp_path: Path, row: dict) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert list(read_table(path).rows()) == [row]


def test_a_file_of_the_same_size_and_time_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two"}\n')
    before, state = rows_on_disk(path), path.stat()
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "a"}\n{"text": "bcdef"}\n')
    assert other.stat().st_size == state.st_size
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)
    after = rows_on_disk(path)
    assert before is not None
    assert after is not None
    assert [row["text"] for row in after] == ["a", "bcdef"]
    assert before.digest != after.digest
    path.touch()
    touched = rows_on_disk(path)
    assert touched is not None
    assert touched.digest == after.digest
