"""Pixels that stay on disk and pixels decoded by workers are those that one process decodes into memory, from every container."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import counterpoint
from counterpoint.data.images.load import Images, load_images
from counterpoint.data.pictures.load import load_pictures
from counterpoint.errors import CounterpointError

COUNT = 40


def picture(number: int) -> tuple[str, bytes]:
    """A name and bytes: odd sizes, gray, transparent, turned by EXIF, JPEG and PNG."""
    draw = np.random.default_rng(number)
    side = (20 + number % 5, 24 + number % 3)
    made = Image.fromarray(draw.integers(0, 256, (*side, 4 if number % 4 == 1 else 3), np.uint8))
    made = made.convert("L") if number % 7 == 2 else made
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6 if number % 5 == 0 else 1
    jpeg = made.mode != "RGBA" and number % 2 == 0
    made.save(file, "JPEG" if jpeg else "PNG", exif=exif)
    return f"{number:03d}.{'jpg' if jpeg else 'png'}", file.getvalue()


def folder(out: Path) -> Path:
    for number in range(COUNT):
        name, content = picture(number)
        place = out / "folder" / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return out / "folder"


def rows() -> list[dict[str, Any]]:
    return [
        {"image": {"bytes": content, "path": name}, "label": f"class{number % 2}"}
        for number, (name, content) in enumerate(map(picture, range(COUNT)))
    ]


def parquet(out: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.Table.from_pylist(rows()), out / "x.parquet", row_group_size=9)
    return out / "x.parquet"


def saved(out: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_list(rows(), features=features).save_to_disk(str(out / "saved"))
    return out / "saved"


def shards(out: Path, gone: int | None = None) -> Path:
    (out / "tars").mkdir()
    for shard in range(2):
        with tarfile.open(out / "tars" / f"{shard:05d}.tar", "w") as file:
            for number in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
                name, content = picture(number)
                label = f"class{number % 2}".encode()
                content = b"no image" if number == gone else content
                for member, held in ((name, content), (f"{number:03d}.cls", label)):
                    about = tarfile.TarInfo(member)
                    about.size = len(held)
                    file.addfile(about, io.BytesIO(held))
    return out / "tars"


CONTAINERS: list[Callable[[Path], Path]] = [folder, parquet, saved, shards]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("counterpoint.data.images.decoding.LARGE", 1000)  # so that subsets stay on disk, too


def equal(one: Images, other: Images) -> None:
    assert one.fingerprint() == other.fingerprint()
    assert one.classes == other.classes
    for name, part in one.splits().items():
        assert torch.equal(part.pixels, other.splits()[name].pixels)
        assert torch.equal(part.labels, other.splits()[name].labels)
    assert one.statistics() == other.statistics()


def mapped(data: Images) -> bool:
    return data.train.pixels.untyped_storage().filename is not None


@pytest.mark.parametrize("write", CONTAINERS)
def test_on_disk(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    memory, disk = (load_images(path, rows=held) for held in ("memory", "disk"))
    assert mapped(disk)
    assert not mapped(memory)
    equal(memory, disk)
    gray = "were turned to colour"  # of pixels on disk all have the channels of the most colourful from the start
    assert [line for line in memory.describe() if gray not in line] == disk.describe()


def test_pictures_get_them(tmp_path: Path) -> None:
    path = shards(tmp_path)
    memory, disk = (load_pictures(path, rows=held, workers=1) for held in ("memory", "disk"))
    assert memory.fingerprint() == disk.fingerprint()
    assert mapped(disk.images)
    index = torch.tensor([3, 0])
    assert torch.equal(memory.train[index].pixels, disk.train[index].pixels)


@pytest.mark.parametrize("write", [folder, shards])
@pytest.mark.parametrize("held", ["memory", "disk"])
def test_any_number_of_workers(
    tmp_path: Path, write: Callable[[Path], Path], held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterpoint.data.images.decoding.CHUNK", 3)
    path, alone = write(tmp_path), None
    for workers in (0, 1, 2):
        monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / f"cache{workers}"))
        data = load_images(path, rows=held, workers=workers, size=16)
        alone = alone or data
        equal(alone, data)


def test_it_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path)
    first = load_images(path, rows="disk")
    monkeypatch.setattr(
        "counterpoint.data.images.decoding.decoded", lambda *given: pytest.fail("decoded again")
    )
    equal(first, load_images(path, rows="disk"))


def test_a_changed_file_is_decoded_anew(tmp_path: Path) -> None:
    path = folder(tmp_path)
    first = load_images(path, rows="disk").fingerprint()
    name, _ = picture(3)
    (path / "class1" / name).write_bytes(picture(1)[1])
    assert load_images(path, rows="disk").fingerprint() != first


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_no_image_is_named(tmp_path: Path, workers: int) -> None:
    path = shards(tmp_path, gone=5)
    messages = []
    for held in ("memory", "disk"):
        with pytest.raises(CounterpointError, match="1 file is no readable") as error:
            load_images(path, rows=held, workers=workers)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    options: dict[str, Any] = {"unreadable": "skip", "workers": workers}
    equal(load_images(path, rows="memory", **options), load_images(path, rows="disk", **options))


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"no tar at all")
    with pytest.raises(CounterpointError, match="not a readable .tar"):
        load_images(path)
    with pytest.raises(CounterpointError, match="workers=-1"):
        load_images(path, workers=-1)


def test_captions_of_shards(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for number in range(COUNT):
            name, content = picture(number)
            record = json.dumps({"caption": f"number {number}", "label": number % 2}).encode()
            for member, held in ((name, content), (f"{number:03d}.json", record)):
                about = tarfile.TarInfo(member)
                about.size = len(held)
                file.addfile(about, io.BytesIO(held))
    data = load_images(tmp_path / "x.tar")
    assert data.classes == ("0", "1")
    assert data.train.captions is not None
    assert data.train.captions[0][0].startswith("number ")


@pytest.mark.slow
def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for held in ("memory", "disk"):
        counterpoint.run(
            "simclr", data=str(path), out=tmp_path / held, steps=2, evaluate=False, kind="images",
            data_options={"rows": held, "workers": 1}, progress=False, settings={"batch_size": 8},
        )  # fmt: skip
    one, other = (
        (tmp_path / held / "model" / "model.safetensors").read_bytes() for held in ("memory", "disk")
    )
    assert one == other
