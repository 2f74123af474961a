"""The pages on images with captions: snippet and commands run as printed, on made-up photographs and (slow) the bundled emoji."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from counterpoint.pairs import caption_vectors as captions
from pages_harness import check_settings, printed, run_commands, run_snippet

SHORTER = {"epochs=20": "epochs=1", "--epochs 20": "--epochs 1"}


@pytest.fixture
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    draws = np.random.default_rng(0)
    rows = ["file,caption"]
    for number in range(60):
        name = f"{('cat', 'dog')[number % 2]}/{number}.png"
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
        rows.append(f'{name},"a photograph, the {number}th"')
    (tmp_path / "photos" / "captions.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)

    def vectors(texts: list[str], spec: str) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(len(texts), 6)).astype(np.float32)

    # The encoder of captions is fetched; the slow test below has the real one.
    monkeypatch.setattr(captions, "cached_sentence_vectors", vectors)


@pytest.mark.usefixtures("_photos")
def test_the_snippet_runs_as_printed() -> None:
    run_snippet("clip", SHORTER)
    assert Path("encoder/model.safetensors").exists()


@pytest.mark.usefixtures("_photos")
def test_the_command_runs_as_printed() -> None:
    run_commands("clip", SHORTER)
    metrics = json.loads(Path("runs/clip/result.json").read_text())["metrics"]["test"]
    assert 0 <= metrics["partner_recall@1"] <= metrics["partner_recall@5"] <= 1


def test_the_captions_file_on_the_page_is_read_as_the_page_says(tmp_path: Path) -> None:
    from counterpoint.data.images.captions import read_captions

    (tmp_path / "captions.csv").write_text(printed("clip", "csv", {}))
    found = read_captions(tmp_path / "captions.csv", ["dog/1.png", "cat/0.png"])
    assert found == [("a dog in the snow",), ("a grey cat, asleep",)]


def test_settings_table_names_every_setting_with_its_default() -> None:
    check_settings("clip")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["clip", "isogclr"])
def test_commands_on_bundled_emoji_run_as_printed(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    from typer.testing import CliRunner

    from counterpoint.cli.main import app

    pytest.importorskip("resvg_py")
    monkeypatch.chdir(tmp_path)
    line = printed(key, "shell", {"\\\n": " "})
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, (line, result.output, result.exception)
    metrics = json.loads((tmp_path / "runs" / "emoji" / "result.json").read_text())["metrics"]["test"]
    chance = 5 / 376
    assert metrics["image_recall@5"] > 3 * chance
    assert metrics["partner_recall@5"] > 3 * chance
