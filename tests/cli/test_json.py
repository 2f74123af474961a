"""``--json`` on every command that prints a table, and tables on narrow terminals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint import api
from counterpoint.cli.main import app

COMMANDS = [
    "list", "show", "recommend", "check", "run", "resume", "compare", "ablate", "reproduce", "report", "export",
    "recommend-items", "export-embeddings", "predict", "push", "store-teacher", "watch", "data list", "data get",
]  # fmt: skip


def call(*arguments: object, **environment: str) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], env=environment)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_prints_a_table_has_json(command: str) -> None:
    assert "--json" in call(*command.split(), "--help")


def test_no_command_is_without_it_but_those_that_print_no_table() -> None:
    import typer

    command = typer.main.get_command(app)
    every = dict(command.commands)  # type: ignore[attr-defined]
    every |= {f"data {name}": one for name, one in every.pop("data").commands.items()}
    without = {name for name, one in every.items() if not any("--json" in p.opts for p in one.params)}
    assert without == {"query", "demo", "serve"}  # a dialogue, a tour, and another program


def test_check_recommend_and_settings(tmp_path: Path) -> None:
    rows = "".join(f"question {n},{n}\n" for n in range(40))
    (tmp_path / "my data [1].csv").write_text("question,answer\n" + rows)
    data = tmp_path / "my data [1].csv"
    found = json.loads(call("check", "--data", data, "--json"))
    assert (found["data"], found["kind"], found["model"]) == (str(data), "problems", None)
    assert len(found["fingerprint"]) == 64
    assert any("40" in line or "train" in line for line in found["describe"])
    advice = json.loads(call("recommend", "--data", data, "--json"))
    assert set(advice) == {"facts", "suggestions", "cautions", "command", "learnt"}
    assert advice["facts"]["kind"] == "problems"
    assert f"'{data}'" in advice["command"]
    assert str(data) in call("recommend", "--data", data).replace("\n", "")
    settings = json.loads(call("run", "dcl", "--temperature", "0.2", "--show-settings", "--json"))
    assert settings["temperature"] == {"default": 0.1, "here": 0.2}


def test_run_report_and_export(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = json.loads(
        call("run", "dcl", "--data", "digits", "--steps", 1, "--batch-size", 8, "--out", out, "--json")
    )
    assert result["key"] == "dcl"
    assert json.loads(call("resume", out, "--json"))["metrics"] == result["metrics"]
    page = Path(json.loads(call("report", out, "--json"))["page"])
    assert page.is_file()
    told = json.loads(call("export", out, "--to", tmp_path / "model", "--json"))
    assert (Path(told["model"]) / "config.json").is_file()
    assert told["from"] == str(out / "model")


def test_lists_without_torch_and_the_cases() -> None:
    assert {row["name"] for row in json.loads(call("data", "list", "--json"))["made"]} >= {"digits"}
    assert {one["key"] for one in json.loads(call("reproduce", "--json"))} == set(api.cases())


@pytest.mark.parametrize("command", ["list", "data list"])
def test_figures_are_whole_on_a_narrow_terminal(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from counterpoint.bundled import list_bundled
    from counterpoint.cli import data, listing
    from counterpoint.methods.catalog import rows

    for module in (data, listing):
        monkeypatch.setattr(module, "console", lambda: Console(width=60, highlight=False))
    shown = call(*command.split())
    whole = (
        [row.size for row in list_bundled()]
        if command == "data list"
        else [f"{row.paper} {row.year}" for row in rows().values()]
    )
    assert all(text in shown for text in whole)
