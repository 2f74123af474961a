"""Tables and images with numeric targets: what is read, how it is split, and lessons for what cannot be used."""

import json

import numpy as np
import pytest
import torch

from counterpoint.data.regression.load import load_regression
from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError
from counterpoint.tasks import recognise


def rows(count: int = 60) -> list[dict]:
    draw = np.random.default_rng(0)
    return [
        {
            "id": f"row {n}",
            "size": float(draw.normal()),
            "colour": ("red", "blue")[n % 2],
            "target": float(n % 7),
        }
        for n in range(count)
    ]


def write(path, table) -> str:
    path.write_text("\n".join(json.dumps(row) for row in table))
    return str(path)


def csv(path, table) -> str:
    lines = [
        ",".join(table[0]),
        *(",".join("" if v is None else str(v) for v in row.values()) for row in table),
    ]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_numbers_and_categories_become_columns(tmp_path, form):
    table = rows()
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        spec = str(tmp_path / "a.parquet")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), spec)
    else:
        spec = (csv if form == "csv" else write)(tmp_path / f"a.{form}", table)
    data = load_regression(spec, leave_out="id")
    assert data.columns == ("size", "colour=blue", "colour=red")
    assert [len(part) for part in data.splits().values()] == [39, 9, 12]
    together = torch.cat([torch.cat([p.inputs, p.targets[:, None]], 1) for p in data.splits().values()])
    expected = {
        (np.float32(r["size"]), r["colour"] == "blue", r["colour"] == "red", r["target"]) for r in table
    }
    assert {(np.float32(a), bool(b), bool(c), t) for a, b, c, t in together.tolist()} == expected
    assert data.fingerprint() == load_regression(spec, leave_out="id").fingerprint()
    assert data.fingerprint() != load_regression(spec, leave_out="id", seed=1).fingerprint()
    assert "7 values" in data.describe()[1]


def test_split_files_are_kept_and_a_shared_row_is_reported(tmp_path):
    table = [{"size": r["size"], "target": r["target"]} for r in rows()]
    for name, part in (
        ("train", table[:40]),
        ("validation", table[40:50]),
        ("test", [*table[50:], table[0]]),
    ):
        csv(tmp_path / f"{name}.csv", part)
    data = load_regression(tmp_path)
    assert [len(part) for part in data.splits().values()] == [40, 10, 11]
    assert any("0 validation and 1 test rows" in line for line in data.describe())


def test_images_with_numbers(tmp_path):
    draw = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        images=draw.integers(0, 256, (40, 8, 8), dtype=np.uint8),
        labels=draw.normal(size=40),
    )
    data = load_regression(tmp_path / "a.npz", images=True)
    assert data.train.inputs.shape == (26, 1, 8, 8)
    assert data.train.inputs.dtype == torch.uint8
    assert data.columns == ()


def test_gaps(tmp_path):
    table = rows()
    table[3]["size"] = None
    spec = csv(tmp_path / "a.csv", table)
    with pytest.raises(CounterpointError, match="'size' lacks 1 values, the first in row 4"):
        load_regression(spec, leave_out="id")
    data = load_regression(spec, leave_out="id", missing="mean")
    assert all(torch.isfinite(part.inputs).all() for part in data.splits().values())
    assert any("1 gap filled" in note for note in data.notes)


@pytest.mark.parametrize(
    ("change", "options", "lesson"),
    [
        (
            lambda t: t,
            {},
            "column 'id' holds 60 different texts; leave it out with --data-option leave_out=id",
        ),
        (lambda t: t, {"leave_out": "idd"}, "did you mean 'id'"),
        (lambda t: t, {"leave_out": "id,size,colour"}, "no columns are left"),
        (lambda t: t, {"target": "tagret"}, "did you mean 'target'"),
        (lambda t: [{"a": 1.0, "b": 2.0}] * 30, {}, "target=b"),
        (
            lambda t: [{**r, "target": "high"} for r in t],
            {"leave_out": "id"},
            "row 1: the target 'target' is 'high'",
        ),
        (
            lambda t: [{**r, "target": float("nan")} for r in t],
            {"leave_out": "id"},
            "expected a finite number",
        ),
        (lambda t: [{**r, "target": 3.0} for r in t], {"leave_out": "id"}, "nothing to learn"),
        (lambda t: t[:5], {"leave_out": "id"}, "at least 20"),
        (lambda t: t, {"leave_out": "id", "missing": "maen"}, "did you mean 'mean'"),
        (lambda t: t, {"leave_out": "id", "test": 1.5}, "shares above 0"),
        (lambda t: t, {"leave_out": "id", "limit": 0}, "at least 2 training rows"),
    ],
)
def test_wrong_input_teaches(tmp_path, change, options, lesson):
    with pytest.raises(CounterpointError, match=lesson):
        load_regression(write(tmp_path / "a.jsonl", change(rows())), **options)


def test_nothing_there(tmp_path):
    with pytest.raises(CounterpointError, match="there is no data"):
        load_regression(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("a,target\n")
    with pytest.raises(CounterpointError, match="no rows"):
        load_regression(tmp_path / "empty.csv")


def test_the_bundled_patients():
    from counterpoint.tasks.regression import TASK

    data = TASK.load_data("diabetes", limit="100")
    assert isinstance(data, Regression)
    assert len(data.train) == 100
    assert len(data.columns) == 10
    with pytest.raises(CounterpointError, match="did you mean 'limit'"):
        TASK.load_data("diabetes", limt=3)
    with pytest.raises(CounterpointError, match="limit='many'"):
        TASK.load_data("diabetes", limit="many")


@pytest.mark.slow
def test_the_bundled_garments_are_turned_by_what_they_say():
    from torch.nn.functional import affine_grid, grid_sample

    from counterpoint.tasks.regression import TASK

    data = TASK.load_data("garment-angles")
    assert len(data.train) + len(data.validation) + len(data.test) == 2000
    degrees = data.train.targets
    assert torch.equal(degrees, degrees.round())
    assert float(degrees.abs().max()) <= 75
    assert int((degrees.abs() <= 25).sum()) > 2 * int((degrees.abs() > 25).sum())
    far = degrees.abs() > 30
    images, back = data.train.inputs[far].float(), -torch.deg2rad(degrees[far])
    still = torch.zeros_like(back)
    turn = torch.stack([back.cos(), -back.sin(), still, back.sin(), back.cos(), still], 1).view(-1, 2, 3)
    upright = grid_sample(
        images, affine_grid(turn, list(images.shape), align_corners=False), align_corners=False
    )
    # A garment that stands upright is nearly its own mirror image.
    assert (upright - upright.flip(3)).abs().mean() < 0.7 * (images - images.flip(3)).abs().mean()


def test_a_column_called_target_is_recognised(tmp_path):
    from counterpoint.tasks.recognise import kind_of

    assert kind_of(csv(tmp_path / "a.csv", rows())) == "regression"
    assert kind_of(write(tmp_path / "a.jsonl", rows())) == "regression"
    assert kind_of("diabetes") == "regression"


@pytest.mark.parametrize(
    ("scale", "says"), [(1e-300, "too small for float32"), (1e-30, "too small"), (1e300, "too large")]
)
def test_numbers_beyond_float32_keep_their_differences(scale: float, says: str, tmp_path) -> None:
    spec = write(
        tmp_path / "a.jsonl", [{"x": n * scale, "z": n % 3, "target": (n + 1) * scale} for n in range(40)]
    )
    data = load_regression(spec)
    lines = " ".join(data.describe())
    assert f"targets are {says}" in lines
    assert f"column 'x': {says}" in lines
    assert "inf" not in lines
    assert len(data.train.targets.unique()) == len(data.train)
    assert data.train.inputs.isfinite().all()
    own = data.train.targets.double() * data.scale + data.offset
    torch.testing.assert_close(own / scale, (own / scale).round(), rtol=0, atol=1e-4)


def test_sounds_of_phones_are_hinted_at(tmp_path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(CounterpointError, match=r"files: 1 \.m4a; turn sounds into WAV or FLAC"):
        recognise.kind_of(str(tmp_path))
