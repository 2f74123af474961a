"""The conversion of the bundled emoji on small archives of the real layout, and (slow) the real ones."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from counterpoint.bundled import get
from counterpoint.bundled.convert.emoji import emoji

CAPTIONS = [
    {"label": "red square", "hexcode": "1F7E5", "tags": ["red", "shape"], "group": 8, "subgroup": 96},
    {"label": "red box", "hexcode": "1F7E6", "group": 7, "subgroup": 82},
    {"label": "green bar", "hexcode": "2600-FE0F", "tags": [], "group": 8, "subgroup": 96},
    {"label": "light skin tone", "hexcode": "1F3FB", "group": 2, "subgroup": 32},
    {"label": "regional indicator A", "hexcode": "1F1E6"},
    {"label": "not drawn", "hexcode": "1F999", "group": 8, "subgroup": 96},
]
PICTURES = {
    "width": 36,
    "height": 36,
    "icons": {
        "red": {"body": '<path fill="#f00" d="M0 0h36v36H0z"/>'},
        "green": {"body": '<path fill="#0f0" d="M0 0h36v9H0z"/>', "height": 18},
    },
    "aliases": {"box": {"parent": "red"}},
}
NAMES = {"1f7e5": "red", "1f7e6": "box", "2600": "green", "1f3fb": "red", "1f1e6": "green"}
GROUPS = {
    "groups": {"8": "symbols", "7": "objects", "2": "component"},
    "subgroups": {"96": "geometric", "82": "other-object", "32": "skin-tone"},
}


def package(file: Path, **members: object) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(f"package/{name}.json")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file


def test_pictures_meet_their_captions_once_each(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    pytest.importorskip("PIL")
    from counterpoint.data.images.files import read

    drawings = package(tmp_path / "a.tgz", icons=PICTURES, chars=NAMES)
    words = package(tmp_path / "b.tgz", **{"en/data": CAPTIONS, "meta/groups": GROUPS})
    emoji([drawings, words], tmp_path)
    table = read(tmp_path / "images.parquet", captioned=True)
    assert table.captions == [("red square (shape)",), ("green bar",)]
    assert table.labels == ["symbols", "symbols"]
    assert read(tmp_path / "images.parquet", label="subgroup").labels == ["geometric", "geometric"]
    red, green = table.pixels
    assert (red == [255, 0, 0]).all()
    # 36 wide and 18 high: centred on a square, a quarter of the side above it, white all around.
    assert green.shape == (32, 32, 3)
    assert (green[:8] == 255).all()
    assert (green[9:15] == [0, 255, 0]).all()
    assert (green[17:] == 255).all()


@pytest.mark.slow
def test_the_real_ones() -> None:
    pytest.importorskip("resvg_py")
    from counterpoint.data.images.load import load_images

    assert get("emoji").name == "images.parquet"
    found = load_images("emoji")
    parts = found.splits().values()
    assert sum(map(len, parts)) == 1881
    assert len(found.classes) == 9
    told = [caption for part in parts for captions in part.captions for caption in captions]
    assert len(set(told)) == 1881
    pictures = np.concatenate([part.pixels.numpy() for part in parts])
    assert pictures.shape[1:] == (3, 32, 32)
    assert len({row.tobytes() for row in pictures}) == 1881
    by_caption = dict(zip(told, pictures, strict=True))
    tomato = next(row for caption, row in by_caption.items() if caption.startswith("tomato"))
    leaf = next(row for caption, row in by_caption.items() if caption.startswith("four leaf clover"))
    middle = slice(12, 20)
    assert tomato[0, middle, middle].mean() > tomato[1, middle, middle].mean() + 80
    assert leaf[1, middle, middle].mean() > leaf[0, middle, middle].mean() + 40
