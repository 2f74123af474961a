"""The snippets and commands of the preference side's pages run as printed (a character model stands in for the large one)."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load
from counterpoint.models.characters import tiny

PAGES = Path(__file__).parents[2] / "docs" / "methods"
KEYS = ["cream", "self-rewarding", "dpo"]


def blocks(key: str, language: str) -> list[str]:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = [
        {"prompt": f"{i}+1=", "answer": str(i + 1)} | ({"completion": str(i + 1)} if i % 3 == 0 else {})
        for i in range(24)
    ]
    pairs = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": str(i)} for i in range(24)]
    for name, rows in (("prompts", sums), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    (code,) = blocks(key, "python")
    exec(compile(code, f"{key}.md", "exec"), {})
    assert key == "self-rewarding" or Path(f"{key}-model/model.safetensors").exists()


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    from counterpoint.cli.main import app

    tiny(seed=0).save(Path("small"))
    (script,) = blocks(key, "sh")
    given = shlex.split(script.replace("\\\n", " ").replace("smollm2-135m-instruct", "small"))[1:]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, (given, result.output, result.exception)
    assert (Path(given[given.index("--out") + 1]) / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("key", ["cream", "dpo"])
def test_settings_tables_name_every_setting(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    table = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    missing = [field.name for field in fields(load(key)) if f"`{field.name}`" not in table]
    assert not missing
