"""Captioned images that stay on disk are those that one process decodes into memory: files, tables with bytes, and shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import counterpoint
from counterpoint.data.captioned.items import Captioned
from counterpoint.data.captioned.load import load_captioned
from counterpoint.errors import CounterpointError

COUNT = 30


def picture(number: int) -> bytes:
    """Three sizes, gray, transparent, turned by EXIF."""
    draw = np.random.default_rng(number)
    shape = ((20, 16, 3), (16, 24, 4), (16, 16, 3))[number % 3]
    made, file, exif = (
        Image.fromarray(draw.integers(0, 256, shape, np.uint8)),
        io.BytesIO(),
        Image.Exif(),
    )
    exif[0x0112] = 6 if number % 5 == 0 else 1
    (made.convert("L") if number % 7 == 2 else made).save(file, "PNG", exif=exif)
    return file.getvalue()


def said(number: int) -> dict[str, object]:
    return {"caption": f"a {number} on b", "negatives": [f"b on a {number}", f"b below a {number}"]}


def files(out: Path) -> Path:
    (out / "images").mkdir()
    rows = [{"image": f"{number:03d}.png", **said(number)} for number in range(COUNT)]
    for number in range(COUNT):
        (out / "images" / f"{number:03d}.png").write_bytes(picture(number))
    (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out / "rows.jsonl"


def parquet(out: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    rows = [
        {
            "image": {"bytes": picture(number), "path": f"{number:03d}.png"},
            "split": "test" if number < 6 else "train",
            **said(number),
        }
        for number in range(COUNT)
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), out / "x.parquet", row_group_size=7)
    return out / "x.parquet"


def saved(out: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    rows = [
        {"image": {"bytes": picture(number), "path": f"{number:03d}.png"}, **said(number)}
        for number in range(COUNT)
    ]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "negatives": datasets.Sequence(datasets.Value("string")),
        }
    )
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(out / "saved"))
    return out / "saved"


def shards(out: Path) -> Path:
    (out / "tars").mkdir()
    for shard in range(2):
        with tarfile.open(out / "tars" / f"{shard:05d}.tar", "w") as file:
            for number in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
                members = {"png": picture(number), "json": json.dumps(said(number)).encode()}
                if number % 2:
                    wrong = {"negatives": said(number)["negatives"]}
                    members = {
                        "png": picture(number),
                        "json": json.dumps(wrong).encode(),
                        "txt": f"a {number} on b\n".encode(),
                    }
                for ending, content in members.items():
                    about = tarfile.TarInfo(f"{number:03d}.{ending}")
                    about.size = len(content)
                    file.addfile(about, io.BytesIO(content))
    return out / "tars"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("counterpoint.data.images.decoding.LARGE", 1000)


def mapped(data: Captioned) -> bool:
    return data.train.pixels.untyped_storage().filename is not None


CONTAINERS: list[Callable[[Path], Path]] = [files, parquet, saved, shards]


@pytest.mark.parametrize("write", CONTAINERS)
def test_on_disk(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    memory = load_captioned(path, rows="memory")
    disk = load_captioned(path, rows="disk", workers=2)
    assert memory.fingerprint() == disk.fingerprint()
    assert mapped(disk)
    assert not mapped(memory)
    for name, part in memory.splits().items():
        other = disk.splits()[name]
        assert torch.equal(part.pixels, other.pixels)
        assert (part.captions, part.negatives) == (other.captions, other.negatives)
    captions = {
        row[0]: wrong for part in disk.splits().values() for row, wrong in zip(part.captions, part.negatives)
    }
    assert len(captions) == COUNT
    assert captions["a 7 on b"] == ("b on a 7", "b below a 7")
    if write is parquet:
        assert len(disk.test) == 6


def test_a_shard_without_captions_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        content = picture(0)
        about = tarfile.TarInfo("000.png")
        about.size = len(content)
        file.addfile(about, io.BytesIO(content))
    with pytest.raises(CounterpointError, match=r"x\.tar, 000.*caption"):
        load_captioned(tmp_path / "x.tar")


@pytest.mark.slow
def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    path = shards(tmp_path)
    for held in ("memory", "disk"):
        counterpoint.run(
            "sds-clip", data=str(path), out=tmp_path / held, steps=6, evaluate=False, progress=False,
            data_options={"rows": held, "workers": 1},
            settings={"batch_size": 8, "teacher.steps": 2, "mapper.steps": 2},
        )  # fmt: skip
    one, other = (
        (tmp_path / held / "model" / "model.safetensors").read_bytes() for held in ("memory", "disk")
    )
    assert one == other
