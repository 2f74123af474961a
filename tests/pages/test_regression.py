"""The snippets and commands of the pages of regression run as printed (on made-up houses, one epoch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["supremix", "regression", "teacher-guidance"]
SHORTER = {"epochs=20": "epochs=1", "epochs 20": "epochs 1"}


@pytest.fixture
def _houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    lines = ["id,rooms,quarter,price"]
    for number in range(80):
        rooms = int(draw.integers(1, 7))
        lines.append(
            f"house {number},{rooms},{('north', 'south')[number % 2]},{50 * rooms + 30 * (number % 2) + draw.normal():.1f}"
        )
    (tmp_path / "houses.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_houses")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SHORTER)
    assert Path("encoder/model.safetensors").exists()


@pytest.mark.usefixtures("_houses")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    run_commands(key, SHORTER)
    assert Path(f"runs/{key}/model/head/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    check_settings(key)
