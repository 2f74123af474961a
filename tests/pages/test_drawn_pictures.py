"""The pages of methods that make pictures: snippets and commands run as printed (on made-up photographs of all sizes, one epoch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["self-e", "flow-matching", "ddae", "edm"]
FEWER = {
    "epochs=20": "epochs=1", "--epochs 20": "--epochs 1 --data-option samples=12 --data-option size=16 --diffusion.steps 2",
    "steps=18": "steps=2", "(9, 18)": "(1, 2)", "contrast=contrast": "contrast=contrast, diffusion=Diffusion(steps=(2,))",
}  # fmt: skip
SHORTER = {
    "epochs=20": "epochs=1", "--epochs 20": "--epochs 1 --data-option samples=12 --data-option size=16 --sampling.steps 1,2",
    "ema=0.99": "ema=0.99, sampling=FEW",
    "net = ": "FEW = __import__('importlib').import_module('counterpoint.methods.baselines.flow_matching').PlainSampling(steps=(1, 2))\nnet = ",
}  # fmt: skip


@pytest.fixture
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    draws = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 256, (16 + number % 3, 16 + number % 5, 3), dtype=np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "wishes.csv").write_text("prompt\ncat\ndog\ncat\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_photos")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, FEWER if key in ("ddae", "edm") else SHORTER)
    assert Path("denoiser/model.safetensors").exists()
    assert key in ("flow-matching", "edm") or Path("cat.png").stat().st_size > 0


@pytest.mark.usefixtures("_photos")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, FEWER if key in ("ddae", "edm") else SHORTER)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
