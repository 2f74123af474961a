"""A person's answers at the terminal end up in the file that sirl learns from."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from counterpoint.cli.main import app


def test_answers_are_kept_and_counted(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    argv = ["query", "--data", "gridrobot", "--answers", str(answers), "--count", "2"]
    result = CliRunner().invoke(app, argv, input="1\n3\n")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [set(row) for row in rows] == [{"anchor", "positive", "negative"}] * 2
    again = CliRunner().invoke(app, argv, input="")
    assert again.exit_code == 0
    assert len(answers.read_text().splitlines()) == 2
