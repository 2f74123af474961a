"""``counterpoint show-samples``: what was sampled, at the terminal, as JSON and on the report's page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import counterpoint
from counterpoint.cli.main import app


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "grpo"
    counterpoint.run(
        "grpo", data="backward-sums?digits=1&size=8&validation=2&test=2", model="characters", out=out, steps=2,
        settings={"answers": 3, "batch_size": 4, "max_new_tokens": 4, "judge": "majority + 0.5*format:json"},
    )  # fmt: skip
    return out


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["show-samples", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_answers_stand_beside_their_rewards(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert all(len(row["answers"]) == 3 for row in rows)
    text = shown(str(finished), "--last", "0")
    for row in rows:
        assert row["prompt"] in text
    for column in ("answer", "majority", "format:json", "advantage", "majority wrote"):
        assert column in text
    assert shown(str(finished), "--last", "1").count("step") == 1


def test_as_json_and_by_step(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    given = json.loads(shown(str(finished), "--json", "--last", "3"))
    assert given == {"samples": rows[-3:], "requests": {}}
    given = json.loads(shown(str(finished), "--json", "--last", "0", "--step", "1"))
    assert given["samples"] == rows[4:]


def test_the_report_shows_the_last_of_them(finished: Path, tmp_path: Path) -> None:
    (finished / "requests.jsonl").write_text(
        '{"key": "k", "model": "m", "reply": {}, "usage": {"requests": 1, "prompt_tokens": 7, "completion_tokens": 2, "cost": 0.5}}\n'
    )
    page = counterpoint.report(finished, to=tmp_path / "page.html").read_text()
    assert "What was sampled last" in page
    assert "prompt tokens" in page
    assert "asked of servers: 1 requests, 7 prompt tokens" in shown(str(finished))
    (finished / "requests.jsonl").unlink()


def test_what_cannot_be_shown_is_one_line(finished: Path, tmp_path: Path) -> None:
    for arguments, says in [
        ((str(tmp_path),), "holds no run"),
        ((str(finished), "--step", "7"), "there are steps 0 to 1"),
        ((str(finished), "--last", "-1"), "expected 0"),
    ]:
        result = CliRunner().invoke(app, ["show-samples", *arguments])
        assert result.exit_code == 2
        assert says in " ".join(result.stderr.split())
