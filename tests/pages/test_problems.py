"""The pages of the methods that learn from problems: snippets and commands run as printed (small data and model, one short pass)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.models.language.characters import tiny
from pages_harness import check_settings, run_commands, run_snippet

KEYS = ["unisd", "sdft", "gkd", "sft", "grpo", "pi-distill", "user-interactions", "rltf", "pu-distill"]
SMALLER = {
    "new_tokens=32": "new_tokens=4",
    "tokens 128": "tokens 4",
    "smollm2-135m-instruct": "small",
    "path/to/teacher": "small",
}
TURNS = "in `counterpoint.data.language.turns`"
NOT_SPELLED_OUT = dict.fromkeys(
    ("template", "agreement.example"), "in `counterpoint.pairs.demonstrations`"
) | dict.fromkeys(("information.template", "information.request"), "in `counterpoint.pairs.privileged`")


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": f"{n}+1=", "completion": f"so {n + 1}", "answer": str(n + 1)} for n in range(24)]
    rows = [{**row, "privileged_context": "count on"} for row in rows]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    talk = [{"role": "user"}, {"role": "assistant"}, {"role": "user"}]
    logs = [
        {"messages": [{**turn, "content": text} for turn, text in zip(talk, (f"{n}+1=", "SO", "soft"))]}
        for n in range(24)
    ]
    (tmp_path / "logs.jsonl").write_text("\n".join(json.dumps(row) for row in logs))
    (tmp_path / "user.py").write_text("def follow_up(prompt, completion, number):\n    return 'soft'\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_snippets_run_as_printed(key: str) -> None:
    run_snippet(key, SMALLER)
    assert Path(f"{key}-model/model.safetensors").exists()


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("key", KEYS)
def test_commands_run_as_printed(key: str) -> None:
    """With a small model in place of the bundled one, and completions of four tokens."""
    tiny(seed=0).save("small")
    run_commands(key, SMALLER)
    assert Path(f"runs/{key}/model/model.safetensors").exists()


@pytest.mark.parametrize("key", KEYS)
def test_settings_tables_name_every_setting_with_its_default(key: str) -> None:
    own = {"template": TURNS, "critique_template": TURNS} if key == "rltf" else {}
    own = {"rating.template": "in `counterpoint.judges.rated`"} if key == "pu-distill" else own
    check_settings(key, {**NOT_SPELLED_OUT, **own})
