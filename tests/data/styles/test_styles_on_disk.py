"""Pictures of two domains that stay on disk are those that one process decodes into memory: folders, tables and shards, gray beside colour."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import counterpoint
from counterpoint.data.images.pixels import decode_frame
from counterpoint.data.images.stacks import Stack
from counterpoint.data.styles.load import load_styles
from counterpoint.data.styles.sets import NONE, Styles

COUNT = 30


def picture(number: int, styled: bool) -> bytes:
    """Odd sizes, gray, transparent, turned by EXIF; the plain ones of two sizes of which the styled have neither."""
    draw = np.random.default_rng([number, styled])
    side = (20 + number % 2, 24) if styled else (30 + number % 5, 26)
    made = Image.fromarray(draw.integers(0, 256, (*side, 4 if number % 4 == 1 and styled else 3), np.uint8))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6 if number % 5 == 0 else 1
    (made if styled else made.convert("L")).save(file, "PNG", exif=exif)
    return file.getvalue()


def folders(out: Path) -> None:
    for domain in ("plain", "styled"):
        (out / domain).mkdir()
        for number in range(COUNT):
            (out / domain / f"{number:03d}.png").write_bytes(picture(number, domain == "styled"))


def tables(out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    for domain in ("plain", "styled"):
        (out / domain).mkdir()
        rows = [
            {"image": {"bytes": picture(number, domain == "styled"), "path": f"{number:03d}.png"}}
            for number in range(COUNT)
        ]
        pyarrow.parquet.write_table(
            pa.Table.from_pylist(rows), out / domain / "metadata.parquet", row_group_size=7
        )


def shards(out: Path) -> None:
    for domain in ("plain", "styled"):
        (out / domain).mkdir()
        for shard in range(2):
            with tarfile.open(out / domain / f"{shard:05d}.tar", "w") as file:
                for number in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
                    content = picture(number, domain == "styled")
                    about = tarfile.TarInfo(f"{number:03d}.png")
                    about.size = len(content)
                    file.addfile(about, io.BytesIO(content))


def cyclegan(out: Path) -> None:
    for number in range(COUNT):
        for domain in "AB":
            name = "test" if number < 5 else "train"
            (out / f"{name}{domain}").mkdir(exist_ok=True)
            (out / f"{name}{domain}" / f"{number:03d}.png").write_bytes(picture(number, domain == "B"))


CONTAINERS: list[Callable[[Path], None]] = [folders, tables, shards, cyclegan]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_CACHE", str(tmp_path / "cache"))
    for module in ("decoding", "stacks"):  # so that what is taken of them stays on disk, too
        monkeypatch.setattr(f"counterpoint.data.images.{module}.LARGE", 1000)


def equal(one: Styles, other: Styles) -> None:
    assert one.fingerprint() == other.fingerprint()
    assert one.describe() == other.describe()
    for name, part in one.splits().items():
        for field, value in vars(part).items():
            assert torch.equal(value, getattr(other.splits()[name], field)), (name, field)


def mapped(pixels: torch.Tensor) -> bool:
    return pixels.untyped_storage().filename is not None


@pytest.mark.parametrize("write", CONTAINERS)
def test_on_disk(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "art"
    path.mkdir()
    write(path)
    memory = load_styles(path, rows="memory")
    disk = load_styles(path, rows="disk", workers=2)
    equal(memory, disk)
    assert not mapped(memory.train.plain)
    assert mapped(disk.train.plain)
    assert mapped(disk.train.styled)
    assert memory.shape == (3, 23, 23)
    assert (memory.train.partners != NONE).any()  # names are pairs in every container
    assert any("gray pictures were turned to colour" in line for line in disk.describe())


def test_sizes_are_chosen_over_both_domains(tmp_path: Path) -> None:
    folders(tmp_path)
    data = load_styles(tmp_path)
    assert data.shape == (3, 23, 23)  # the median of 26 and of 20 or 21
    number = 8  # resized once, from the file
    expected = torch.from_numpy(decode_frame(io.BytesIO(picture(number, True)), 23).pixels.copy()).permute(
        2, 0, 1
    )
    assert any(torch.equal(row, expected) for part in data.splits().values() for row in part.styled)
    assert load_styles(tmp_path, size=16, rows="disk").shape == (3, 16, 16)


def test_rows_of_a_stack_are_those_of_its_parts() -> None:
    draw = torch.Generator().manual_seed(0)
    parts = tuple(
        torch.randint(256, (count, channels, 4, 5), generator=draw, dtype=torch.uint8)
        for count, channels in ((5, 1), (0, 3), (7, 3))
    )
    whole = torch.cat([part.expand(-1, 3, -1, -1) for part in parts])
    stack = Stack(parts, 3)
    index = torch.tensor([11, 0, 4, 5, 0])
    assert torch.equal(stack.rows(index), whole[index])
    assert len(stack) == len(stack.hashes()) == 12


@pytest.mark.slow
def test_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "art"
    path.mkdir()
    shards(path)
    for held in ("memory", "disk"):
        counterpoint.run(
            "stydeco", data=str(path), out=tmp_path / held, steps=10, evaluate=False,
            data_options={"rows": held, "workers": 1}, progress=False, settings={"batch_size": 4},
        )  # fmt: skip
    one, other = (
        (tmp_path / held / "model" / "model.safetensors").read_bytes() for held in ("memory", "disk")
    )
    assert one == other
