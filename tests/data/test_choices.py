"""What a reader chose between, or cannot hold, is said or refused: columns with usual names, numbers beyond float64, units of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.data.interactions.load import load_interactions
from counterpoint.data.regression.load import load_regression
from counterpoint.data.text.load import load_texts
from counterpoint.errors import CounterpointError

COUNT = 40


def table(path: Path, head: str, *columns: list[object]) -> Path:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


NUMBERS: list[object] = [n % 7 + 0.5 for n in range(COUNT)]
OTHERS: list[object] = [n * 3 % 11 for n in range(COUNT)]


def test_a_label_that_could_be_another_column(tmp_path: Path) -> None:
    words: list[object] = [f"text number {n}" for n in range(COUNT)]
    path = table(tmp_path / "a.csv", "text,body,class,label", words, words, [n % 2 for n in range(COUNT)], [n % 4 for n in range(COUNT)])  # fmt: skip
    said = load_texts(path).describe()
    assert any("the label is column 'label'; there is a column 'class', too" in line for line in said)
    assert any("the text is column 'text'; there is a column 'body', too" in line for line in said)
    assert not any("too: --data-option" in line for line in load_texts(path, text="text", label="class").describe())  # fmt: skip


def test_a_target_that_could_be_another_column(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "y,size,target", NUMBERS, OTHERS, NUMBERS)
    assert any("the target is column 'target'; there is a column 'y', too" in line for line in load_regression(path).describe())  # fmt: skip


def test_whole_numbers_that_float64_cannot_tell_apart(tmp_path: Path) -> None:
    near: list[object] = [10**18 + n for n in range(COUNT)]
    path = table(tmp_path / "a.csv", "size,code,target", NUMBERS, near, OTHERS)
    with pytest.raises(
        CounterpointError, match="column 'code' holds 40 different numbers, of which float64 tells 1 apart"
    ):
        load_regression(path)
    load_regression(path, leave_out="code")
    with pytest.raises(CounterpointError, match="target 'target' holds 40 different numbers, .* tells 1"):
        load_regression(table(tmp_path / "b.csv", "size,target", NUMBERS, near))
    far: list[object] = [10**18 + 10**6 * n for n in range(COUNT)]
    assert len(load_regression(table(tmp_path / "c.csv", "size,target", NUMBERS, far)).train) > 20


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([-999 if n % 5 == 0 else n for n in range(COUNT)], True),
        ([9999.0 if n % 5 == 0 else n for n in range(COUNT)], True),
        ([-999 if n == 5 else n for n in range(COUNT)], False),  # once
        ([99 if n % 5 == 0 else n + 50 for n in range(COUNT)], False),  # near the others
        ([-998 if n % 5 == 0 else n for n in range(COUNT)], False),
    ],
)
def test_a_number_that_stands_for_none(tmp_path: Path, column: list[object], said: bool) -> None:
    for head, columns in (
        ("a,b,target", (column, OTHERS, NUMBERS)),
        ("b,c,target", (OTHERS, NUMBERS, column)),
    ):
        lines = load_regression(table(tmp_path / "a.csv", head, *columns)).describe()
        assert any("far from all other numbers" in line for line in lines) == said


def ratings(path: Path, times: list[object]) -> Path:
    return table(
        path, "user,item,time", [n % 8 for n in range(COUNT)], [n * 7 % 11 for n in range(COUNT)], times
    )


def test_times_of_two_units_have_no_order(tmp_path: Path) -> None:
    seconds = 1_704_110_400
    mixed: list[object] = [seconds + n if n % 4 else 1000 * (seconds + n) for n in range(COUNT)]
    path = ratings(tmp_path / "a.csv", mixed)
    for split in ("time", "last"):
        with pytest.raises(CounterpointError, match="more than one unit.* 30 seconds, 10 milliseconds"):
            load_interactions(path, split=split)
    load_interactions(path)  # a random split reads no times
    for factor in (1, 1000, 10**6, 10**9):
        load_interactions(
            ratings(tmp_path / "b.csv", [factor * (seconds + n) for n in range(COUNT)]), split="time"
        )


def test_times_without_a_zone_beside_others_with_one(tmp_path: Path) -> None:
    def said(ends: tuple[str, ...]) -> str:
        times: list[object] = [
            f"2024-01-{n % 28 + 1:02d}T10:00:00{ends[n % len(ends)]}" for n in range(COUNT)
        ]
        return "\n".join(load_interactions(ratings(tmp_path / "a.csv", times), split="time").describe())

    assert "20 times without a zone beside others with one are read as UTC" in said(("Z", ""))
    assert "30 times without a zone" in said(("+05:30", "", "", ""))
    for ends in (("",), ("Z",), ("+05:30", "-08:00", "Z")):
        assert "without a zone" not in said(ends)
