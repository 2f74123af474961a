"""What the table reader makes of files as people have them; every right value is written by hand."""

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet
import pytest

from counterpoint.data.tables import json_rows, read_file, read_splits, read_table, split_of
from counterpoint.errors import CounterpointError

TWO = [{"text": "süß", "label": "7"}, {"text": "b", "label": "8"}]


def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", "byte-order mark"),
        ("utf-16", "UTF-16-LE"),
        ("utf-32", "UTF-32-LE"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", "text,label\nsüß,7\nb,8\n"),
        (".CSV", "text,label\r\nsüß,7\r\nb,8"),
        (".tsv", "text\tlabel\nsüß\t7\nb\t8\n"),
        (".jsonl", '{"text": "süß", "label": "7"}\n\n{"text": "b", "label": "8"}\r\n'),
        (".json", json.dumps(TWO)),
        (".json", '{"text": "süß", "label": "7"}\n{"text": "b", "label": "8"}\n'),
    ],
)
def test_encodings(tmp_path, suffix, content, encoding, note):
    table = read_table(save(tmp_path / f"a{suffix}", content.encode(encoding)))
    assert list(table.rows()) == TWO
    assert not table.notes if note is None else note in table.notes[0]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path, order):
    path = save(tmp_path / "a.csv", "text,label\nan old song,7\nb,8\n".encode(order))
    assert read_file(path)[0] == {"text": "an old song", "label": "7"}


def test_other_encodings_are_refused_by_name_or_read_when_named(tmp_path):
    path = save(tmp_path / "a.csv", "text,label\nsüß,7\nb,8\n".encode("cp1252"))
    with pytest.raises(CounterpointError, match=r"a\.csv: byte 12 is no UTF-8.*encoding=cp1252"):
        read_table(path)
    assert list(read_table(path, encoding="cp1252").rows()) == TWO
    with pytest.raises(CounterpointError, match="encoding='utf-9'"):
        read_table(path, encoding="utf-9")
    cut = save(tmp_path / "b.csv", b"text,label\nx,7\ny,\xc3")
    with pytest.raises(CounterpointError, match="no UTF-8"):
        read_table(cut)


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_only_a_line_feed_ends_a_line(tmp_path, sign):
    row = {"text": f"one{sign}two"}
    lines = save(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False) + "\n" + '{"text": "x"}\n')
    assert read_file(lines) == [row, {"text": "x"}]
    cells = save(tmp_path / "a.csv", f"text,n\none{sign}two,1\n")
    assert read_file(cells) == [{**row, "n": "1"}]


def test_quoted_cells_hold_line_ends_separators_and_quotes(tmp_path):
    path = save(tmp_path / "a.csv", 'text,n\n"one\r\ntwo, ""three""",1\n5" disk,2\n"",3\n')
    assert [row["text"] for row in read_file(path)] == ['one\r\ntwo, "three"', '5" disk', ""]
    long = save(tmp_path / "long.csv", "text,n\n" + '"' + "long, " * 600_000 + '",1\nx,2\n')
    assert [len(row["text"]) for row in read_file(long)] == [3_600_000, 1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n3,4,5\n", r"row 2: more fields than columns, 3 for 2: '3,4,5'.*double quotes"),
        ("a,b\n1,2\n\n3\n", r"row 2: fewer fields than columns, 1 for 2: '3'"),
        ('a,b\n"x\ny",2\n3,4,5\n', r"row 2: more fields"),
        ('a,b\n1,2\n3,"4\n5,6\n', r"row 2: a cell begins with a double quote that no other closes"),
        ('a,b\n"Yes,2\n3,4\n"No,3\n', r"row 1: text follows the double quote"),
        ('a,b\n"x" y,2\n', r"row 1: text follows the double quote"),
        ("a,a\n1,2\n", "names the column 'a' twice"),
        ("a,b\n", "holds no rows"),
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("a,b\n1,\x00\n", "byte 6 is zero"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, says):
    with pytest.raises(CounterpointError, match=rf"(?s)a\.csv.*{says}"):
        read_table(save(tmp_path / "a.csv", content))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_separator_that_fits_every_row(tmp_path, mark, suffix):
    other = "," if mark != "," else ";"
    cells = [["text", "label"], [f'"one{mark} two{other} three"', "7"], ["four", "8"]]
    path = save(tmp_path / f"a{suffix}", "".join(mark.join(row) + "\n" for row in cells))
    table = read_table(path)
    assert next(table.rows()) == {"text": f"one{mark} two{other} three", "label": "7"}
    usual = {".csv": ",", ".tsv": "\t"}[suffix] == mark
    assert usual or "separated by" in table.notes[0]


def test_the_whole_file_decides_and_an_option_overrides(tmp_path):
    # Commas fit the first rows as well as semicolons; only the last row tells.
    path = save(tmp_path / "a.csv", "a;b,c\n1;2,3\n4;5,6\n7;8\n")
    assert read_file(path)[2] == {"a": "7", "b,c": "8"}
    both = save(tmp_path / "b.csv", "a;b,c\n1;2,3\n")
    assert read_file(both) == [{"a;b": "1;2", "c": "3"}]
    assert list(read_table(both, delimiter="semicolon").rows()) == [{"a": "1", "b,c": "2,3"}]
    with pytest.raises(CounterpointError, match="delimiter='abc'"):
        read_table(both, delimiter="abc")
    assert read_file(save(tmp_path / "one.csv", "text\nfirst\nsecond\n")) == [
        {"text": "first"},
        {"text": "second"},
    ]


def test_quotes_of_a_tab_separated_file_that_enclose_nothing(tmp_path):
    path = save(tmp_path / "a.tsv", 'text\tn\n"Yes, she said\t1\nno\t2\n"No\t3\n')
    table = read_table(path)
    assert [row["text"] for row in table.rows()] == ['"Yes, she said', "no", '"No']
    assert "as they stand" in table.notes[0]


@pytest.mark.parametrize(
    ("head", "first", "columns"),
    [
        ("", ["0", "1", "2"], ["a"]),
        ("Unnamed: 0", ["12", "3", "40"], ["a"]),
        ("", ["", "", ""], ["a"]),
        ("", ["x", "y", "x"], ["column 1", "a"]),
        ("Unnamed: 0", ["5", "5", "6"], ["Unnamed: 0", "a"]),
    ],
)
def test_nameless_columns(tmp_path, head, first, columns):
    lines = [f"{head},a", *(f"{cell},{n}" for n, cell in enumerate(first))]
    table = read_table(save(tmp_path / "a.csv", "\n".join(lines)))
    assert table.names == columns
    assert len(table.notes) == 1


def test_the_index_of_pandas_in_parquet(tmp_path):
    data = pa.table({"a": [1.0, 2.0], "__index_level_0__": [5, 3]})
    pyarrow.parquet.write_table(data, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").names == ["a"]
    described = json.dumps({"index_columns": ["who"]}).encode()
    named = pa.table({"a": [1.0, 2.0], "who": ["x", "y"]}).replace_schema_metadata({b"pandas": described})
    pyarrow.parquet.write_table(named, tmp_path / "b.parquet")
    assert read_table(tmp_path / "b.parquet").index == ("who",)


def test_types_of_parquet(tmp_path):
    columns = {
        "names": pa.array(["x", "y", "x"]).dictionary_encode(),
        "large": pa.array(["a", None, "b"], pa.large_string()),
        "decimals": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(8, 2)),
        "counts": pa.array([Decimal(3), Decimal(4), Decimal(5)], pa.decimal128(8, 0)),
        "when": pa.array([0, 1_500_000_000, None], pa.timestamp("ns", "Europe/Paris")),
        "lists": pa.array([["p"], [], None]),
        "nested": pa.array([{"role": "user", "content": "q"}] * 3),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows = read_file(tmp_path / "a.parquet")
    assert [row["names"] for row in rows] == ["x", "y", "x"]
    assert [row["large"] for row in rows] == ["a", None, "b"]
    assert [row["decimals"] for row in rows] == [1.5, None, 2.25]
    assert [row["counts"] for row in rows] == [3, 4, 5]
    assert rows[1]["when"].timestamp() == 1.5
    assert [row["lists"] for row in rows] == [["p"], [], None]
    assert rows[0]["nested"] == {"role": "user", "content": "q"}


def test_class_names_of_the_datasets_library(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["p", "q", "r"])),
        }
    )
    content = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[2, 0], [], [1]]}
    made = datasets.Dataset.from_dict(content, features)
    right = [("a", "good", ["r", "p"]), ("b", "bad", []), ("c", None, ["q"])]
    made.to_parquet(str(tmp_path / "a.parquet"))
    datasets.DatasetDict({" Train ": made, "VAL": made}).save_to_disk(str(tmp_path / "saved"))
    parts = read_splits(tmp_path / "saved")
    assert list(parts) == ["train", "validation"]
    for table in (read_table(tmp_path / "a.parquet"), *parts["train"], *parts["validation"]):
        assert [tuple(row.values()) for row in table.rows()] == right


def test_words_for_missing_values_in_delimited_files(tmp_path):
    words = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", " NA "]
    path = save(
        tmp_path / "a.csv", "n,text\n" + "".join(f"{n},{word}\n" for n, word in enumerate(words)) + "10,x\n"
    )
    table = read_table(path)
    assert table.gaps("text").tolist() == [True] * 10 + [False]
    assert [row["text"] for row in table.rows()] == ["", *[None] * 9, "x"]
    assert "10 gaps" in table.gap_notes()[0]
    typed = save(tmp_path / "a.jsonl", '{"text": "NA"}\n{"text": null}\n')
    assert read_file(typed) == [{"text": "NA"}, {"text": None}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1}\n[2]\n', "line 2: expected a JSON object, got a list"),
        ('{"a": 1}\n{"a": \n', "line 2"),
        ('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}\n", "line 1.*too deep"),
        ('{"a": ' + "9" * 5000 + "}\n", "line 1.*4300"),
        ('{"a": "\\ud800"}\n', "line 1.*surrogate"),
    ],
)
def test_lines_that_are_no_objects(tmp_path, content, says):
    with pytest.raises(CounterpointError, match=rf"(?s)a\.jsonl.*{says}"):
        read_table(save(tmp_path / "a.jsonl", content))


@pytest.mark.parametrize("content", [b"PAR1", b"", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_damaged_parquet_is_one_line(tmp_path, content):
    with pytest.raises(CounterpointError, match=r"a\.parquet: not a readable Parquet file") as raised:
        read_table(save(tmp_path / "a.parquet", content))
    assert "\n" not in str(raised.value)


def test_a_damaged_folder_of_the_datasets_library_is_one_line(tmp_path):
    pytest.importorskip("datasets")
    save(tmp_path / "state.json", "{")
    with pytest.raises(CounterpointError, match="not a readable folder of the datasets library"):
        read_splits(tmp_path)


def test_names_of_splits(tmp_path):
    assert [split_of(name) for name in (" Train", "VALID ", "dev", "Testing", "other")] == [
        "train", "validation", "validation", "test", None,
    ]  # fmt: skip
    for name in ("Train.csv", "TEST .csv", "val-00000-of-00002.csv", "val-00001-of-00002.csv"):
        save(tmp_path / name, "a\n1\n")
    parts = read_splits(tmp_path)
    assert {name: len(tables) for name, tables in parts.items()} == {"train": 1, "test": 1, "validation": 2}


@pytest.mark.parametrize(
    "bad", [b"[1]", b"", b"{}x", b'{"a": "\\ud800"}', b'{"a": 1, "a": 2}', b'{"a": 1},{"a": 2}', b'{"a": [']
)
@pytest.mark.parametrize("at", [0, 5, 20, 39])
def test_a_line_that_differs_among_many_is_looked_at_by_itself(
    tmp_path, monkeypatch, bad: bytes, at: int
) -> None:
    """Lines are read many at a time; what one of them holds still counts by its own number."""
    monkeypatch.setattr(json_rows, "BLOCK", 200)
    lines = [b'{"a": %d, "text": "row number %d of many"}' % (n, n) for n in range(40)]
    lines[at] = bad
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    if bad:
        with pytest.raises(CounterpointError, match=rf"line {at + 1}\b"):
            read_table(tmp_path / "a.jsonl")
        return
    table = read_table(tmp_path / "a.jsonl")
    assert [row["a"] for row in table.rows()] == [n for n in range(40) if n != at]
    assert table.where(38).endswith("40" if at < 39 else "39")
