"""The snippets and commands of the image methods' pages run as printed (on made-up photographs, one epoch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoint.methods.catalog import ready
from pages_harness import check_settings, run_commands, run_snippet

KEYS = [
    key for key, row in ready().items() if row.kind == "images" and key != "clip"
]  # clip's data have captions
SHORTER = {"epochs=20": "epochs=1", "--epochs 20": "--epochs 1"}


@pytest.fixture
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        pixels[..., number % 2] //= 2
        image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_photos")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)
    assert Path("encoder/model.safetensors").exists()


@pytest.mark.usefixtures("_photos")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
