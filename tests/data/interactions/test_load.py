"""Interaction files: every format reads the same, splits leak nothing, and each kind of wrong input teaches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from counterpoint.data.interactions.load import Interactions, Pairs, load_interactions
from counterpoint.errors import CounterpointError
from interaction_clusters import cluster_lines, clusters, write_clusters

ROWS = cluster_lines()
SEPARATORS = {"tsv": "\t", "csv": ",", "semicolon.csv": ";", "txt": " ", "dat": "::"}


def text(separator: str, header: str | None = None, columns: int = 4) -> str:
    lines = [header] if header else []
    return "\n".join([*lines, *(separator.join(str(v) for v in row[:columns]) for row in ROWS)]) + "\n"


def keys(pairs: Pairs, data: Interactions) -> set[tuple[str, str]]:
    return {(data.users[u], data.items[i]) for u, i in zip(pairs.users.tolist(), pairs.items.tolist())}


def test_every_format_reads_the_same(tmp_path: Path) -> None:
    found = []
    for suffix, separator in SEPARATORS.items():
        for header in (None, separator.join(["userId", "movieId", "rating", "timestamp"])):
            path = tmp_path / f"{header is None}.{suffix}"
            path.write_text(text(separator, header))
            found.append(load_interactions(path, threshold=4))
    atomic = tmp_path / "x.inter"
    atomic.write_text(text("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float"))
    found.append(load_interactions(atomic, threshold=4))
    table = pa.table(
        {name: [row[n] for row in ROWS] for n, name in enumerate(("user", "item", "rating", "time"))}
    )
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    found.append(load_interactions(tmp_path / "x.parquet", threshold=4))
    windows = tmp_path / "windows.csv"
    windows.write_bytes(b"\xef\xbb\xbf" + text(",", "user,item,rating,time").replace("\n", "\r\n").encode())
    found.append(load_interactions(windows, threshold=4))
    assert len({data.fingerprint() for data in found}) == 1
    assert sum(len(getattr(found[0], s)) for s in ("train", "validation", "test")) <= sum(
        r[2] >= 4 for r in ROWS
    )


def test_ids_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("user,item\n007,a b\n7,a b\n007,c\n7,d\n08,c\n")
    data = load_interactions(path, test=0, validation=0)
    assert sorted(data.users) == ["007", "08", "7"]
    assert "a b" in data.items


def test_number_ids_of_a_parquet_file_have_no_point(tmp_path: Path) -> None:
    table = pa.table({"user": [1.0, 1.0, 2.0, 3.0], "item": [10, 11, 10, 12]})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    assert set(load_interactions(tmp_path / "f.parquet", test=0, validation=0).users) == {"1", "2", "3"}


def test_named_columns_and_time_without_rating(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("who,what,when\n" + "\n".join(f"{u},{i},{880000000 + t}" for u, i, _, t in ROWS))
    data = load_interactions(path, user="who", item="what", time="when", split="time")
    assert len(data.test)
    bare = tmp_path / "bare.txt"
    bare.write_text("\n".join(f"{u} {i} {880000000 + t}" for u, i, _, t in ROWS))
    assert len(load_interactions(bare, split="time").test)


def test_dates_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "user,item,date\n" + "\n".join(f"{u},{i},2024-01-{1 + t % 28:02d}" for u, i, _, t in ROWS)
    )
    assert len(load_interactions(path, split="last").test)


def test_lists_layout(tmp_path: Path) -> None:
    path = tmp_path / "lists.txt"
    path.write_text("0 1 2 3\n1 1 2\n2 3 4\n")
    data = load_interactions(path, layout="lists", test=0, validation=0)
    assert keys(data.train, data) == {
        ("0", "1"),
        ("0", "2"),
        ("0", "3"),
        ("1", "1"),
        ("1", "2"),
        ("2", "3"),
        ("2", "4"),
    }
    with pytest.raises(CounterpointError, match="--data-option layout=lists"):
        load_interactions(path)


@pytest.mark.parametrize("split", ["ratio", "time", "last"])
def test_splits_share_no_pair_and_are_complete(tmp_path: Path, split: str) -> None:
    path = write_clusters(tmp_path / "a.tsv", "user\titem\trating\ttime")
    data = load_interactions(path, split=split)
    train, validation, test = (keys(getattr(data, part), data) for part in ("train", "validation", "test"))
    assert not train & validation
    assert not train & test
    assert not validation & test
    whole = {row[:2] for row in ROWS}
    assert train | validation | test <= whole
    cold = len(whole) - len(train | validation | test)
    assert cold == 0 or any(f"cold: {cold:,}" in note for note in data.describe())
    time = {row[:2]: row[3] for row in ROWS}
    if split == "time":
        assert max(time[p] for p in train) < min(time[p] for p in validation | test)
        assert max(time[p] for p in validation) < min(time[p] for p in test)
    if split == "last":
        for user in data.users:
            parts = [[time[p] for p in part if p[0] == user] for part in (train, validation, test)]
            filled = [part for part in parts if part]
            assert all(max(a) < min(b) for a, b in pairwise(filled))


def test_ratio_split_depends_on_its_seed_alone(tmp_path: Path) -> None:
    one, same, other = (clusters(tmp_path, {"split_seed": s}) for s in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_duplicates_are_counted_once_at_their_earliest(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_text("a x 5 1\na y 5 2\na x 5 9\nb x 5 3\nb z 5 4\nc z 5 5\nc x 5 6\n")
    data = load_interactions(path, split="time", test=1 / 6, validation=0)
    assert any("1 repeated" in note for note in data.describe())
    assert keys(data.train, data) == {("a", "x"), ("a", "y"), ("b", "x"), ("b", "z"), ("c", "z")}
    assert keys(data.test, data) == {("c", "x")}


def test_folder_of_splits_reports_and_removes_leaks(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a x\na y\nb x\nb z\nc z\nc y\n")
    (tmp_path / "test.txt").write_text("a z\na x\nb y\nnew x\n")
    data = load_interactions(tmp_path, validation=0)
    assert keys(data.test, data) == {("a", "z"), ("b", "y")}
    notes = " ".join(data.describe())
    assert "leaks: 1 evaluation pairs" in notes
    assert "cold: 1 evaluation pairs" in notes
    assert len(load_interactions(tmp_path, validation=0.2).validation) <= 1


def test_folder_with_one_table_is_split(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(text(",", "user,item,rating,time"))
    (tmp_path / "items.csv").write_text("item,title\n")
    assert (
        load_interactions(tmp_path).fingerprint()
        == load_interactions(tmp_path / "interactions.csv").fingerprint()
    )


def test_core_drops_rare_ones_until_none_is_left(tmp_path: Path) -> None:
    data = load_interactions(write_clusters(tmp_path / "a.tsv"), core=4, test=0, validation=0)
    assert torch.bincount(data.train.users).min() >= 4
    assert torch.bincount(data.train.items).min() >= 4


@pytest.mark.parametrize(
    ("content", "options", "lesson"),
    [
        ("", {}, "the file is empty"),
        ("user\titem\n", {}, "no rows"),
        ("a\nb\n", {}, "no tab, comma"),
        ("user,thing\na,x\n", {}, "no item column.*--data-option item=thing"),
        ("user,item\na,x\n", {"item": "itm"}, "did you mean 'item'"),
        ("user,item\na,x\n,y\n", {}, "data row 2"),
        ("user,item\na,x\nNaN,y\n", {}, "empty or NaN user"),
        ("user,item,rating\na,x,5\nb,x,nan\n", {}, "NaN or infinite rating.*data row 2"),
        ("user,item,rating\na,x,5\nb,x,good\n", {}, "no number"),
        ("user,item,time\na,x,soon\nb,x,later\n", {"split": "time"}, "neither a number nor an ISO date"),
        ("a x\na y\na z\n", {"test": 0}, "only 1 user"),
        ("a x\nb x\nc x\n", {"test": 0}, "only 1 item"),
        ("a x\na y\nb x\n", {"test": 0, "validation": 0}, "met every one"),
        ("a x 5\nb y 5 1\n", {}, "rows of different lengths"),
        ("alpha,beta,gamma\na,x,5\nb,x,4\n", {}, "look.* like column names.*--data-option user=alpha"),
        ("user,user\na,x\n", {}, "names a column twice"),
        ("1 2 3 4 5\n2 3 4 5 6\n", {}, "5 columns"),
        ("user,item,rating\na,x,5\nb,y,4\n", {"threshold": 9}, "no rating is that high"),
        ("a x\nb y\n", {"threshold": 4}, "no rating column"),
        ("a x\nb y\n", {"split": "time"}, "needs a time column"),
        ("a x\nb y\n", {"split": "rtio"}, "did you mean 'ratio'"),
        ("a x\nb y\n", {"test": 1.0}, "expected a share"),
        ("a x\nb y\n", {"core": 9}, "use a smaller one"),
    ],
)
def test_wrong_input_teaches(tmp_path: Path, content: str, options: dict[str, object], lesson: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(content)
    with pytest.raises(CounterpointError, match=f"(?s){lesson}"):
        load_interactions(path, **options)  # type: ignore[arg-type]


def test_missing_files_teach(tmp_path: Path) -> None:
    with pytest.raises(CounterpointError, match="no such file or folder"):
        load_interactions(tmp_path / "none.txt")
    with pytest.raises(CounterpointError, match=r"no train\.\*"):
        load_interactions(tmp_path)
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(CounterpointError, match="not a readable Parquet"):
        load_interactions(tmp_path / "x.parquet")


def test_no_held_out_pairs_teach(tmp_path: Path) -> None:
    data = clusters(tmp_path, {"test": 0, "validation": 0})
    with pytest.raises(CounterpointError, match="there are no test pairs"):
        data.held_out("test")
