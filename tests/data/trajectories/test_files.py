"""A person's own files: what is read, how it is split, and what wrong input is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from counterpoint.data.trajectories.files import load_trajectory_files
from counterpoint.data.trajectories.robot_arm import forward_kinematics, load_robot_arm
from counterpoint.data.trajectories.strokes import load_strokes
from counterpoint.errors import CounterpointError
from counterpoint.tasks.task import task


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def walks(count: int = 20, steps: int = 4) -> list[dict[str, object]]:
    draws = torch.Generator().manual_seed(0)
    return [{"id": f"w{i}", "states": torch.randn(steps, 2, generator=draws).tolist()} for i in range(count)]


def folder(path: Path, count: int = 20) -> Path:
    write(path / "trajectories.jsonl", walks(count))
    names = [(f"w{i}", f"w{(i + 1) % count}", f"w{(i + 5) % count}") for i in range(count)]
    write(path / "answers.jsonl", [dict(zip(("anchor", "positive", "negative"), n)) for n in names])
    write(
        path / "preferences.jsonl", [{"chosen": f"w{i}", "rejected": f"w{i + 1}"} for i in range(count - 1)]
    )
    return path


def test_a_folder_is_read_and_answers_across_splits_are_held_out_by_answer(tmp_path: Path) -> None:
    data = load_trajectory_files(str(folder(tmp_path)))
    parts = data.splits().values()
    assert data.shape == (4, 2)
    assert [len(part.answers) for part in parts] == [14, 3, 3]
    assert sum(len(part.preferences) for part in parts) == 19
    assert "held out by answer" in data.describe()[-1]
    assert data.fingerprint() == load_trajectory_files(str(tmp_path)).fingerprint()
    with pytest.raises(CounterpointError, match="split_by=answer"):
        load_trajectory_files(str(tmp_path), split_by="trajectory")


def test_named_splits_keep_answers_where_they_belong(tmp_path: Path) -> None:
    rows = [
        {**row, "split": ("train", "validation", "test")[i // 8 if i < 16 else 2]}
        for i, row in enumerate(walks(24))
    ]
    write(tmp_path / "trajectories.jsonl", rows)
    names = [("w0", "w1", "w2"), ("w8", "w9", "w10"), ("w16", "w17", "w18"), ("w3", "w4", "w5")]
    write(tmp_path / "answers.jsonl", [dict(zip(("anchor", "positive", "negative"), n)) for n in names])
    data = load_trajectory_files(str(tmp_path))
    assert [len(part.answers) for part in data.splits().values()] == [2, 1, 1]
    part = data.test
    assert [part.ids[row] for row in part.answers[0]] == ["w16", "w17", "w18"]


def test_parquet_and_resampling_agree_with_the_states(tmp_path: Path) -> None:
    rows = [
        {"id": i, "states": [[float(t)] for t in range(3 + i % 2)], "features": [float(i)]} for i in range(10)
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "walks.parquet")
    with pytest.raises(CounterpointError, match="waypoints="):
        load_trajectory_files(str(tmp_path / "walks.parquet"))
    data = load_trajectory_files(str(tmp_path / "walks.parquet"), waypoints=5, columns="height")
    even = data.train.inputs[[int(name) % 2 == 0 for name in data.train.ids]]
    torch.testing.assert_close(even[0], torch.linspace(0, 2, 5))
    torch.testing.assert_close(data.train.features.mean(0), torch.zeros(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("trajectories", "answers", "told"),
    [
        ([{"id": "a", "state": [[1.0]]}], None, "did you mean 'state'"),
        ([{"id": "a", "states": [1.0, 2.0]}], None, "list of states"),
        ([{"id": "a", "states": [[float("nan")]]}], None, "not finite"),
        ([{"id": "a", "states": [[1.0]]}] * 2, None, "stands there twice"),
        ([{"id": "a", "states": [[1.0]]}, {"id": "b", "states": [[1.0, 2.0]]}], None, "same in every"),
        (walks(20), [{"anchor": "w1", "positive": "w2", "negative": "w99"}], "id of no trajectory"),
        (walks(20), [{"anchor": "w1", "positive": "w1", "negative": "w2"}], "twice"),
        (walks(2), None, "split"),
        ([], None, "no rows"),
    ],
)  # fmt: skip
def test_wrong_files_are_told_what_is_wrong(
    tmp_path: Path, trajectories: list[dict[str, object]], answers: list[dict[str, object]] | None, told: str
) -> None:
    write(tmp_path / "trajectories.jsonl", trajectories)
    if answers is not None:
        write(tmp_path / "answers.jsonl", answers)
    with pytest.raises(CounterpointError, match=told):
        load_trajectory_files(str(tmp_path))


def test_names_options_and_models_that_do_not_exist() -> None:
    kind = task("trajectories")
    with pytest.raises(CounterpointError, match="gridrobot"):
        kind.load_data("gridrobt")
    with pytest.raises(CounterpointError, match="nuisance"):
        kind.load_data("gridrobot", nuisanse=3)
    with pytest.raises(CounterpointError, match="there is no file"):
        kind.load_data("./nowhere.jsonl")
    data = kind.load_data("gridrobot", nuisance="0")
    assert data.width == 19
    with pytest.raises(CounterpointError, match="encoder-6"):
        kind.load_model("resnet", data, 0)


def test_the_arm_and_the_strokes() -> None:
    rotations, positions = forward_kinematics(torch.randn(5, 7, dtype=torch.float64))
    identity = torch.eye(3, dtype=torch.float64).expand(5, 7, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity)
    assert positions.norm(dim=-1).max() < 1.3
    arm = load_robot_arm(count=40, waypoints=3)
    assert arm.shape == (3, 97)
    assert len(arm.columns) == 97
    strokes = load_strokes()
    assert sum(len(part) for part in strokes.splits().values()) == 1797
    assert not set(strokes.train.ids) & set(strokes.test.ids)
