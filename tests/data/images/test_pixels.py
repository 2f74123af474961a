"""Pictures as they are meant: orientation, depth, colour spaces, transparency, animations; whatever is no picture is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from counterpoint.data.images.files import read
from counterpoint.data.images.load import load_images
from counterpoint.data.images.pixels import decode
from counterpoint.errors import CounterpointError


def encoded(picture: Image.Image, format: str, **options: object) -> io.BytesIO:
    """A picture as a file."""
    stream = io.BytesIO()
    picture.save(stream, format=format, **options)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_is_turned_as_its_exif_says(orientation: int, format: str) -> None:
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :12] = 255  # white upper left
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(encoded(Image.fromarray(pixels), format, exif=exif))
    assert seen.shape == ((24, 16, 3) if orientation > 4 else (16, 24, 3))
    height, width = seen.shape[0] // 2, seen.shape[1] // 2
    quarters = [seen[y : y + height, x : x + width].mean() for y in (0, height) for x in (0, width)]
    assert int(np.argmax(quarters)) == {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}[orientation]


def test_damaged_exif_does_not_cost_the_picture() -> None:
    stream = encoded(Image.new("RGB", (6, 4), "red"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(stream).shape == (4, 6, 3)


@pytest.mark.parametrize("top", [200, 4095, 65535])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_range(top: int, format: str) -> None:
    pixels = np.array([[0, top // 2, top]], dtype=np.uint16)
    seen = decode(encoded(Image.fromarray(pixels), format))
    assert seen.ravel().tolist() == np.rint(pixels.ravel() / 257).astype(int).tolist()


def test_floats_palettes_inks_and_transparency() -> None:
    gray = decode(encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)), "TIFF"))
    assert gray.ravel().tolist() == [0, 128, 255]
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert decode(encoded(palette, "PNG"))[0, 0].tolist() == [10, 200, 30]
    ink = decode(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))
    assert ink.shape == (8, 8, 3)
    assert ink.min() > 250
    clear = decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"))
    assert clear.min() == 255
    indexed = Image.new("P", (4, 4), 0)
    assert decode(encoded(indexed, "GIF", transparency=0)).min() == 255


def photos(folder: Path) -> None:
    """Photos of mixed sizes in two classes."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for k in range(12):
            pixels = np.random.default_rng(k).integers(0, 255, (40 + 7 * k, 90 - k, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}{k}.png")


def test_photos_of_mixed_sizes_load_and_the_size_is_said(tmp_path: Path) -> None:
    photos(tmp_path)
    images = load_images(tmp_path)
    assert images.shape == (3, 64, 64)
    assert any("64 pixels chosen" in line for line in images.describe())
    assert load_images(tmp_path, size=64).fingerprint() == images.fingerprint()


def test_animations_are_said_and_every_unreadable_file_is_named(tmp_path: Path) -> None:
    photos(tmp_path)
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "cat" / "moves.gif", save_all=True, append_images=frames[1:])
    assert any("1 file holds several frames" in line for line in load_images(tmp_path).describe())
    for k in range(9):
        (tmp_path / "dog" / f"broken{k}.jpg").write_bytes(b"no picture")
    with pytest.raises(CounterpointError) as error:
        load_images(tmp_path)
    assert all(f"broken{k}.jpg" in str(error.value) for k in range(9))


def test_random_and_truncated_files_are_named_or_read(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    whole = [
        encoded(Image.new("RGB", (9, 9), "red"), kind).getvalue()
        for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")
    ]
    for number in range(1000):
        content = bytearray(whole[number % len(whole)])
        for _ in range(int(draws.integers(1, 6))):
            content[int(draws.integers(len(content)))] = int(draws.integers(256))
        if number % 3 == 0:
            content = content[: int(draws.integers(len(content)))]
        if number % 10 == 0:
            content = bytearray(draws.bytes(64))
        (tmp_path / f"{number}.png").write_bytes(content)
    table = read(tmp_path)
    assert len(table.pixels) + len(table.unreadable) == 1000
    assert table.unreadable
