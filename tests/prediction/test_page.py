"""docs/predict.md runs as printed, and names every kind's answers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app
from example_files import bare_encoder, write

PAGE = (Path(__file__).parents[2] / "docs" / "predict.md").read_text(encoding="utf-8")


def test_commands_and_snippet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    Path("new.csv").write_text("received,text\nmonday,the kettle is warm\ntuesday,salt and sail\n")
    bare_encoder(tmp_path / "minilm")
    commands = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S))
    for line in commands.splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)
    assert Path("answers.csv").read_text().startswith("row,label,probability.")
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(snippet, "predict.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["monday", "tuesday"]
    assert Path("answers.parquet").is_file()
    assert Path("vectors.parquet").is_file()
    assert "me/mail-topics" in Path("look-first/README.md").read_text()
