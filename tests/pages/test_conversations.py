"""The page on conversations: its command and its snippet run as printed."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app

TEXT = (Path(__file__).parents[2] / "docs/conversations.md").read_text(encoding="utf-8")


def test_the_command_shows_what_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    turns = [("user", "hi"), ("assistant", "yes"), ("user", "why"), ("assistant", "so")]
    talk = {"messages": [{"role": role, "content": content} for role, content in turns]}
    Path("chat.jsonl").write_text("\n".join(json.dumps(talk).replace("hi", f"hi {at}") for at in range(40)))
    [block] = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
    for line in block.strip().splitlines():
        words = shlex.split(line.replace("smollm2-135m-instruct", "characters"))
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, result.output
    assert re.search(r"<s>hi \d+~>>yes</s><<<s>why~>>so</s><<", result.output)


def test_the_snippet_prints_what_it_says() -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(snippet, "docs/conversations.md", "exec"), {})
    assert out.getvalue().strip() == "2</s>3</s>"
    assert "# 2</s>3</s>" in snippet
