"""``counterpoint new`` writes a file that ``run --config`` takes: as it is, and with every # taken away; and what a shell completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from counterpoint.cli import configuration, options
from counterpoint.methods.catalog import rows
from counterpoint.methods.groups import flat
from counterpoint.study.arms import build
from counterpoint.study.options import RunOptions
from example_files import write

KEYS = [key for key, row in rows().items() if row.ready]


def text(key: str) -> str:
    return configuration.text(
        key, file="a.toml", data='my "data".csv', understood=["40 rows"], kind=rows()[key].kind if key in rows() else "text",
        default_model="words", out="runs/a", words={}, types={}, spans={},
    )  # fmt: skip


def uncommented(content: str) -> str:
    """Every option and setting that has a default, without its #."""
    return re.sub(r"^# (\w[\w.]* = )(?!\.\.\.)", r"\1", content, flags=re.M)


@pytest.mark.parametrize(
    "key",
    sorted({"dcl", "unisd", "grpo", "vega", "xsimgcl", "supremix", "text-classifier", "coconut"} & set(KEYS)),
)
def test_defaults_are_the_methods_own(key: str) -> None:
    plain = tomllib.loads(text(key))
    assert plain["data"] == 'my "data".csv'
    assert plain["settings"] == {}
    full = tomllib.loads(uncommented(text(key)))
    built = build(key, full["settings"])
    assert flat(built) == flat(build(key))
    assert set(full["settings"]) or not flat(built)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_defaults_are_every_methods_own(key: str) -> None:
    test_defaults_are_the_methods_own(key)


def test_every_run_option_stands_in_the_file() -> None:
    content = text("dcl")
    for name in RunOptions.names():
        assert re.search(rf"^(# )?\[?{name}(\]| = )", content, re.M) or name == "model_options", name
    full = {
        name: given
        for name, given in tomllib.loads(uncommented(content)).items()
        if name in RunOptions.names()
    }
    full.pop("keep_model")  # has a meaning beside eval_every alone
    full.pop("data_options")
    assert RunOptions.of(full) == RunOptions.of({"steps": 300, "kind": "images"})


def test_a_written_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    done = cli(
        "new", "regression", "--data", "houses.csv", "--data-option", "target=price", "--to", "mine.toml"
    )
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "counterpoint run regression --config mine.toml"
    content = Path("mine.toml").read_text()
    assert "# houses.csv: " in content
    assert 'target = "price"' in content
    assert all(len(line) <= 112 for line in content.splitlines() if " = " not in line)
    changed = content.replace("steps = 300", "steps = 2").replace("# batch_size = ", "batch_size = 8 # ", 1)
    Path("mine.toml").write_text(changed)
    done = cli("run", "regression", "--config", "mine.toml", "--no-evaluate")
    assert done.exit_code == 0, done.output
    assert Path("runs/regression/model/config.json").is_file()


def test_wrong_calls_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    Path("there.toml").write_text("mine\n")
    before = sorted(os.listdir())
    for arguments, message in (
        (["dcl"], "--data is missing"),
        (["dcll", "--data", "photos"], "did you mean 'dcl'"),
        (["dcl", "--data", "nowhere"], "nowhere"),
        (["dcl", "--data", "photos", "--to", "there.toml"], "is there already"),
        (["dcl", "--data", "photos", "--to", "a.yaml"], "expected the name of a .toml file"),
        (["dcl", "--data", "photos", "--data-option", "sise=8"], "did you mean 'size'"),
    ):
        done = cli("new", *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert message in done.output
    assert sorted(os.listdir()) == before
    assert Path("there.toml").read_text() == "mine\n"


def test_a_shell_completes_methods_data_and_options_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.csv").write_text("a\n")
    assert "dcl" in [key for key, _ in options.complete_key("dc")]
    assert [name for name, _ in options.complete_data("digits")] == ["digits", "digits.csv"]
    probe = "import sys; from counterpoint.cli import options; options.complete_key(''); options.complete_data(''); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
    for words, wanted in (
        ("counterpoint run dc", "dcl"),
        ("counterpoint watch --on", "--once"),
        ("counterpoint pre", "predict"),
    ):
        environment = {
            **os.environ,
            "_COUNTERPOINT_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        program = "import sys; sys.argv = ['counterpoint']; from counterpoint.cli.main import app; app(prog_name='counterpoint')"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert wanted in done.stdout.split(), (words, done.stdout, done.stderr)
