"""The snippets and commands of the image methods' pages run as printed (on made-up photographs, one epoch)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load

PAGES = Path(__file__).parents[2] / "docs" / "methods"
KEYS = ["dcl", "simclr", "multiview", "multiview-pairwise", "isogclr", "sla"]


def blocks(key: str, language: str) -> list[str]:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


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
    (code,) = blocks(key, "python")
    exec(compile(code.replace("epochs=20", "epochs=1"), f"{key}.md", "exec"), {})
    assert Path("encoder/model.safetensors").exists()


@pytest.mark.usefixtures("_photos")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    from counterpoint.cli.main import app

    (script,) = blocks(key, "sh")
    for line in script.replace("\\\n", " ").replace("--epochs 20", "--epochs 1").splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    for name, value in vars(load(key).settings()).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert row, f"{name} is not in the table"
        shown = [str(value), f"`{value}`", f"{value:g}" if isinstance(value, float) else "", "1e-6"]
        assert row.split("|")[2].strip() in shown, (name, value, row)
