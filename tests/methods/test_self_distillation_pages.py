"""The pages of UniSD, SDFT, GKD and SFT: snippets and commands run as printed (on small data, a small model, one short pass)."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.methods.catalog import load
from counterpoint.models.characters import tiny

PAGES = Path(__file__).parents[2] / "docs" / "methods"
KEYS = ["unisd", "sdft", "gkd", "sft"]


def blocks(key: str, language: str) -> list[str]:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"{n}+1=", "completion": f"so {n + 1}", "answer": str(n + 1)} for n in range(24)]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    (code,) = blocks(key, "python")
    exec(compile(code.replace("new_tokens=32", "new_tokens=4"), f"{key}.md", "exec"), {})
    assert Path(f"{key}-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    """With a small model in place of the bundled one, and completions of four tokens."""
    from counterpoint.cli.main import app

    tiny(seed=0).save("small")
    (script,) = blocks(key, "sh")
    line = (
        script.replace("\\\n", " ")
        .replace("smollm2-135m-instruct", "small")
        .replace("tokens 128", "tokens 4")
        .strip()
    )
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, (line, result.output, result.exception)
    assert Path(f"runs/{key}/model/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    page = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    for name, value in vars(load(key).settings()).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert row, f"{name} is not in the table"
        shown = [str(value), f"`{value}`", "2e-5", "none" if value == "" else ""]
        if name in ("template", "example"):
            shown = ["in `counterpoint.pairs.demonstrations`"]
        assert row.split("|")[2].strip() in shown, (name, value, row)
