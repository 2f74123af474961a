"""Numbers as people and spreadsheets write them, alone and in the columns of each kind that has numbers."""

import pyarrow as pa
import pytest
import torch

from counterpoint.data.interactions.files import read_table
from counterpoint.data.regression.load import load_regression
from counterpoint.data.tables.written import written
from counterpoint.errors import CounterpointError

READ = [
    (["1,000", "25", "NA"], ",", [1000.0, 25.0]),
    (["1,234,567.5", "3"], ",", [1234567.5, 3.0]),
    (["1,000", "2,500"], "\t", [1000.0, 2500.0]),
    (["1,000", "2,500"], ";", [1.0, 2.5]),
    (["3,14", "2,5"], ",", [3.14, 2.5]),
    (["1.234,56", "7"], ";", [1234.56, 7.0]),
    (["1\u202f000,5", "3,2"], ";", [1000.5, 3.2]),
    (["1'000.5", "2"], ",", [1000.5, 2.0]),
    (["5%", " 7.5 % "], ",", [5.0, 7.5]),
    (["-$5.20", "$1,000"], ",", [-5.2, 1000.0]),
    (["5\u20ac", "7,50 \u20ac"], ";", [5.0, 7.5]),
    (["\u22125", "3"], ",", [-5.0, 3.0]),
]
NOT_READ = [
    ["5%", "7"],
    ["$5", "5\u20ac"],
    ["1,2,3", "4"],
    ["1,5", "1.5"],
    ["1-2", "3"],
    ["a", "1,000"],
    ["+", "1"],
]


@pytest.mark.parametrize(("cells", "separator", "right"), READ)
def test_one_way_of_writing_is_read(cells, separator, right):
    got = written(pa.chunked_array([cells]), separator)
    assert got.values[: len(right)].tolist() == pytest.approx(right, rel=1e-15)
    assert got.gaps.tolist() == [cell == "NA" for cell in cells]


@pytest.mark.parametrize("cells", NOT_READ)
def test_several_ways_and_other_things_are_not(cells):
    assert written(pa.chunked_array([cells])) is None


def table(path, head, rows, mark=","):
    lines = [mark.join(f'"{cell}"' if mark in str(cell) else str(cell) for cell in row) for row in rows]
    path.write_text("\n".join([mark.join(head), *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("write", "note"),
    [
        (lambda n: f"{n * 250:,}", "'1,000' is 1000"),
        (lambda n: f"{n * 250}%", "per cent as they are written"),
        (lambda n: f"${n * 250:,}.00", "without their '$'"),
    ],
)
def test_a_column_of_them_stays_a_number_and_is_said(tmp_path, write, note):
    rows = [(write(n), n % 7) for n in range(4, 64)]
    data = load_regression(table(tmp_path / "a.csv", ("size", "target"), rows))
    assert data.columns == ("size",)
    assert any("column 'size'" in line and note in line for line in data.notes)
    values = torch.cat([part.inputs[:, 0] for part in data.splits().values()]).sort().values
    assert values.tolist() == [n * 250.0 for n in range(4, 64)]


def test_targets_are_read_alike(tmp_path):
    rows = [(n % 13, f"{n * 1000:,}") for n in range(1, 61)]
    data = load_regression(table(tmp_path / "a.csv", ("size", "target"), rows))
    assert any("column 'target': commas between thousands" in line for line in data.notes)
    assert sorted(torch.cat([part.targets for part in data.splits().values()]).tolist()) == [
        n * 1000.0 for n in range(1, 61)
    ]


def test_mixed_ways_name_a_row(tmp_path):
    rows = [(f"{n}%" if n % 2 else n, n % 7) for n in range(60)]
    path = table(tmp_path / "a.csv", ("rate", "target"), rows)
    with pytest.raises(
        CounterpointError,
        match=r"'rate' holds numbers, but 30 cells are written in another way.*row 2: '1%'.*names=rate",
    ):
        load_regression(path)


def test_a_column_read_as_names_though_it_holds_numbers_is_said(tmp_path):
    rows = [(("S", "M", "40", "42")[n % 4], n % 7) for n in range(60)]
    data = load_regression(table(tmp_path / "a.csv", ("size", "target"), rows))
    assert data.columns == ("size=40", "size=42", "size=M", "size=S")
    assert any(
        "'size': 30 of 60 cells are no numbers, the first in row 1: 'S'; all are read as names" in line
        for line in data.notes
    )
    clean = [(("S", "M")[n % 2], n % 7) for n in range(60)]
    assert not any(
        "'size'" in line
        for line in load_regression(table(tmp_path / "b.csv", ("size", "target"), clean)).notes
    )


def test_ratings_with_decimal_commas(tmp_path):
    rows = [(n % 6, n % 5, f"{n % 5},5") for n in range(30)]
    got = read_table(table(tmp_path / "a.csv", ("user", "item", "rating"), rows, ";"))
    assert got.ratings.tolist() == [n % 5 + 0.5 for n in range(30)]
    assert "rating: decimal commas: '0,5' is 0.5" in got.understood
