"""docs/training.md runs as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app
from example_files import write

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    commands, benchmarks = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in (*benchmarks.splitlines(), *commands.splitlines()):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)
    assert "macro_ap" in done.output
    for stored in ("runs/food/result.json", "runs/duel/summary.json"):
        assert "beir:food ndcg@10" in Path(stored).read_text(encoding="utf-8")
    assert Path("runs/mails/training/evaluations.csv").is_file()
    assert not Path("runs/mails/best").exists()
