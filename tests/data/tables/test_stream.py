"""A table in parts has the rows, the numbers and the errors of the same table read whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.data.tables import read_table
from counterpoint.data.tables.stored import parquet_batches
from counterpoint.data.tables.stream import stream_table
from counterpoint.errors import CounterpointError

ROWS = [
    {"id": n, "text": f'a "quoted", text\nof row {n}' if n % 7 == 0 else f"text {n}", "x": n / 3}
    for n in range(2500)
]


def quoted(rows: list[dict[str, object]], mark: str) -> str:
    def cell(value: object) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    lines = [mark.join(rows[0]), *(mark.join(map(cell, row.values())) for row in rows)]
    return "\r\n".join(lines)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda path: path.write_bytes(quoted(ROWS, ",").encode()),
    "semicolons.csv": lambda path: path.write_bytes(quoted(ROWS, ";").encode("utf-8-sig")),
    "a.tsv": lambda path: path.write_bytes(quoted(ROWS, "\t").encode()),
    "bare quotes.tsv": lambda path: path.write_text("a\tb\n5\" wide\tx\n\"y\tz\n"),
    "wide.csv": lambda path: path.write_text("text\n" + "long " * 500_000 + "\nshort\n"),
    "utf16.csv": lambda path: path.write_bytes("text,n\nä,1\nö,2\n".encode("utf-16")),
    "one column.csv": lambda path: path.write_text("text\na\nb\n"),
    "a.jsonl": lambda path: path.write_text("\n\n" + "\n".join(map(json.dumps, ROWS)) + "\n"),
    "a.json": lambda path: path.write_text(json.dumps(ROWS)),
    "a.parquet": lambda path: pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), path),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_parts_are_the_whole(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    whole = read_table(tmp_path / name)
    streamed = stream_table(tmp_path / name, size=100)
    assert streamed.total == len(whole)
    for _ in range(2):  # each time from the beginning
        parts = list(streamed.parts())
        assert [row for part in parts for row in part.rows()] == list(whole.rows())
        assert max(map(len, parts)) <= 100
        assert [part.number(at) for part in parts for at in range(len(part))] == [
            whole.number(at) for at in range(len(whole))
        ]
        assert {part.separator for part in parts} == {whole.separator}


WRONG = {
    "ragged.csv": "a,b\n1,2\n1,2,3\n",
    "late.csv": "a,b\n" + "1,2\n" * 300_000 + "1\n",
    "open quote.csv": 'a,b\n1,"x\n',
    "no object.jsonl": '{"a": 1}\n[1]\n',
    "twice.csv": "a,a\n1,2\n",
    "empty.csv": "a,b\n",
    "none.csv": "",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_before_the_first_row_as_of_the_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(WRONG[name])
    with pytest.raises(CounterpointError) as whole:
        read_table(tmp_path / name)
    with pytest.raises(CounterpointError) as streamed:
        next(stream_table(tmp_path / name).parts())
    assert str(streamed.value) == str(whole.value)


@settings(max_examples=40)
@given(
    st.lists(
        st.text(st.characters(exclude_characters='\r\n"\x00', exclude_categories=("Cs",)), max_size=8),
        min_size=1,
        max_size=9,
    )
)
def test_any_cells(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("cells") / "a.csv"
    path.write_text(
        quoted([{"name": cell, "other": "1"} for cell in cells], ","), encoding="utf-8", newline=""
    )
    rows = [row for part in stream_table(path, size=2).parts() for row in part.rows()]
    assert rows == list(read_table(path).rows())
    assert np.isin([row["other"] for row in rows], ["1"]).all()


def test_of_a_parquet_file_a_part_is_in_memory(tmp_path: Path) -> None:
    path, draws = tmp_path / "wide.parquet", np.random.default_rng(0)
    column = pa.array([draws.bytes(4096) for _ in range(4096)])  # 16 MB that do not compress
    pyarrow.parquet.write_table(pa.table({"x": column}), path, row_group_size=64)
    whole = column.nbytes
    del column
    before = pa.total_allocated_bytes()
    count, batches = parquet_batches(path, 64)
    peak = rows = 0
    for batch in batches:
        rows += len(batch)
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert rows == count == 4096
    assert peak < whole / 4
