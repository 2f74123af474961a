"""The snippets and commands of the pages run as printed (shorter), and their tables name every setting."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load
from own_trajectories import own_files

PAGES = Path(__file__).parents[2] / "docs" / "methods"
BASELINES = ["trajectory-vae", "multi-preference", "preferences-only", "count-ucb", "spr-ucb"]
KEYS = ["sirl", "contrastive-ucb", *BASELINES]
SHORTER = (
    ("--epochs 150", "--epochs 2"),
    ("epochs=75", "epochs=2"), ("--epochs 75", "--epochs 2"), ("rounds=150", "rounds=3"), ("--rounds 150", "--rounds 3"),
    ("--frames 2000 --warmup 400", "--frames 200 --warmup 100"), ("horizon=60", "horizon=10"),
)  # fmt: skip


def blocks(key: str, language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", (PAGES / f"{key}.md").read_text(), re.S)
    for long, short in SHORTER:
        block = block.replace(long, short)
    return block


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium")
    (tmp_path / "walks").mkdir()
    own_files(tmp_path / "walks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "q")


@pytest.mark.parametrize("key", ["sirl", "contrastive-ucb"])
def test_snippets_run_as_printed(key: str) -> None:
    exec(compile(blocks(key, "python"), f"{key}.md", "exec"), {})


@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    from counterpoint.cli.main import app

    for line in blocks(key, "sh").splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text()
    for name, value in vars(load(key).settings()).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        shown = row.split("|")[2].strip() if row else ""
        assert shown in {
            str(value),
            f"{value:g}" if isinstance(value, float) else "",
            "1e-3",
            "1e-4",
            "1e-5",
        }, (
            name,
            value,
            shown,
        )
