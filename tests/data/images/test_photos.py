"""Photographs: decoded at the size they will have, in bounded memory, whatever their sizes, turned, in any container."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterpoint.data.images.load import load_images
from counterpoint.data.images.pixels import decode_frame, header_shape, resize
from counterpoint.data.images.table import chosen_side
from counterpoint.errors import CounterpointError
from counterpoint.tasks import recognise


def photo(path: Path, width: int, height: int, seed: int = 0, **options: object) -> None:
    """A smooth picture."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path, **options)


@pytest.mark.parametrize(("width", "height"), [(2400, 1600), (1600, 2400), (300, 260), (50, 400)])
def test_a_fraction_decoded_is_the_whole_made_smaller(tmp_path: Path, width: int, height: int) -> None:
    photo(tmp_path / "a.jpg", width, height, quality=95)
    small = decode_frame(tmp_path / "a.jpg", 32)
    whole = decode_frame(tmp_path / "a.jpg")
    assert small.shape == whole.shape == (height, width)
    assert small.pixels.shape == (32, 32, 3)
    assert np.abs(small.pixels.astype(int) - resize(whole.pixels, 32)).max() <= 6


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_that_lies_on_its_side(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo(tmp_path / "a.jpg", 1200, 800, exif=exif)
    shape = (1200, 800) if orientation >= 5 else (800, 1200)
    assert header_shape(tmp_path / "a.jpg") == shape
    small = decode_frame(tmp_path / "a.jpg", 40)
    assert small.shape == shape
    assert np.abs(small.pixels.astype(int) - resize(decode_frame(tmp_path / "a.jpg").pixels, 40)).max() <= 6


def test_memory_does_not_grow_with_the_photos(tmp_path: Path) -> None:
    for n in range(24):
        photo(tmp_path / "ab"[n % 2] / f"{n}.{'png' if n % 3 == 0 else 'jpg'}", 1500 + n, 1000, seed=n)
    tracemalloc.start()
    data = load_images(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.train.pixels.shape[2:] == (64, 64)
    assert peak < 4 * 1500 * 1000 * 3 * 2, "a few whole photos at a time, not all of them"
    assert any("images of 24 sizes" in line and "64 pixels chosen" in line for line in data.describe())


def test_photographs_of_one_size_are_made_smaller_and_small_pictures_are_not(tmp_path: Path) -> None:
    for n in range(12):
        photo(tmp_path / "large" / f"{n}.jpg", 900, 600, seed=n)
        photo(tmp_path / "small" / f"{n}.jpg", 90, 60, seed=n)
    large, small = load_images(tmp_path / "large"), load_images(tmp_path / "small")
    assert large.shape == (3, 64, 64)
    assert any("images of the size 900x600 (12); 64 pixels chosen" in line for line in large.describe())
    assert small.shape == (3, 60, 90)
    assert load_images(tmp_path / "large", size=48).shape == (3, 48, 48)
    assert chosen_side([]) is None


def test_the_same_by_a_table_and_a_saved_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for n in range(12):
        photo(tmp_path / "photos" / "ab"[n % 2] / f"{n:02}.jpg", 900 + n, 600, seed=n)
    plain = load_images(tmp_path / "photos")
    rows = "".join(f"{'ab'[n % 2]}/{n:02}.jpg,{'ab'[n % 2]}\n" for n in range(12))
    (tmp_path / "photos" / "list.csv").write_text("path,label\n" + rows)
    assert load_images(tmp_path / "photos" / "list.csv").shape == plain.shape == (3, 64, 64)
    files = sorted((tmp_path / "photos").rglob("*.jpg"))
    saved = datasets.Dataset.from_dict(
        {"image": list(map(str, files)), "label": [f.parent.name for f in files]}
    )
    saved.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
    assert load_images(tmp_path / "saved").fingerprint() == plain.fingerprint()


def test_all_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for n in range(12):
        photo(tmp_path / "ab"[n % 2] / f"{n}.jpg", 100 + n, 80, seed=n)
    for n in range(20):
        (tmp_path / "a" / f"bad{n}.jpg").write_bytes(b"\xff\xd8 no picture" if n % 2 else b"")
    with pytest.raises(CounterpointError, match="20 files are not readable images") as refused:
        load_images(tmp_path)
    assert all(f"a/bad{n}.jpg" in str(refused.value) for n in range(20))
    left = load_images(tmp_path, unreadable="skip")
    assert len(left.train) + len(left.validation) + len(left.test) == 12


def test_what_is_no_picture_is_counted_and_what_phones_write_is_hinted_at(tmp_path: Path) -> None:
    for n in range(20):
        path = tmp_path / ("cat", "dog")[n % 2] / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (n * 10, 0, 0)).save(path)
    assert "left out" not in " ".join(load_images(tmp_path).describe())
    for n in range(3):
        (tmp_path / "cat" / f"{n}.HEIC").write_bytes(b"a photo of a phone")
    (tmp_path / "dog" / "readme.txt").write_text("about")
    lines = load_images(tmp_path).describe()
    assert (
        "no images that can be read, left out: 3 .heic, 1 .txt; turn them into JPEG or PNG to use them"
        in lines
    )
    for picture in tmp_path.rglob("*.png"):
        picture.unlink()
    with pytest.raises(CounterpointError, match=r"files: 3 \.heic, 1 \.txt; turn pictures into JPEG or PNG"):
        recognise.kind_of(str(tmp_path))


def test_unreadable_pictures_say_why_and_damaged_archives_end_in_a_line(tmp_path: Path) -> None:
    for n in range(12):
        Image.fromarray(np.full((8, 8), n / 12 - (n == 3), np.float32)).save(tmp_path / f"{n}.tif")
    with pytest.raises(
        CounterpointError, match=r"1 file is no readable image: 3\.tif \(.*values from -0\.75"
    ):
        load_images(tmp_path)
    for name, content in (
        ("a.npz", b"PK\x03\x04bad"),
        ("b.npz", b""),
        ("c.npy", b"\x93NUMPY\x01\x00"),
        ("d.npz", b"xx"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CounterpointError, match=name.replace(".", r"\.")) as error:
            load_images(tmp_path / name)
        assert "\n" not in str(error.value)
