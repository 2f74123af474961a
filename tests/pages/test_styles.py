"""The page of StyDeco: snippet and commands run as printed (on made-up pictures of all sizes, one epoch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pages_harness import check_settings, run_commands, run_snippet

KEY = "stydeco"
SHORTER = {"epochs=20": "epochs=1", "--epochs 20": "--epochs 1 --data-option size=16"}


@pytest.fixture
def _art(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    draws = np.random.default_rng(0)
    for number in range(48):
        folder = tmp_path / ("art/plain", "art/styled", "holiday")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 256, (16 + number % 3, 16 + number % 5, 3), dtype=np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "painter.py").write_text(
        "from PIL import ImageOps\n\n\ndef paint(picture, prompt):\n    return ImageOps.invert(picture)\n"
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_art")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet("stydeco", SHORTER)
    assert Path("restyler/model.safetensors").exists()


@pytest.mark.usefixtures("_art")
def test_the_commands_run_as_printed() -> None:
    run_commands("stydeco", SHORTER)


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    check_settings("stydeco", {"weights.perceptual": "`` (LPIPS)"})
