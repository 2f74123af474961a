"""Every command from its arguments to what it prints and leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from counterpoint.cli import options
from counterpoint.errors import CounterpointError

RUN = ("run", "toy-logistic", "--data", "points", "--steps", "12")


def test_list_shows_all_methods_and_marks_planned_ones(cli):
    from counterpoint.methods.catalog import rows

    shown = cli("list").stdout
    assert all(key in shown for key in rows())
    assert shown.count("planned") == sum(not row.ready for row in rows().values())
    assert "toy-nothing" not in cli("list", "--kind", "images").stdout
    assert "did you mean 'images'" in cli("list", "--kind", "imges").stderr


def test_show_lists_every_setting_with_its_default(cli):
    shown = cli("show", "toy-logistic").stdout
    for part in (
        "--learning-rate",
        "0.5",
        "0.001 to 1",
        "--mode",
        "plain or sharp",
        "list of number",
    ):
        assert part in shown


def test_show_of_a_planned_method_says_so(cli, monkeypatch):
    from counterpoint.methods import catalog

    row = catalog.rows()["dcl"]
    rows = {"dcl": type(row)(**{**row.__dict__, "key": "not-yet"})}
    monkeypatch.setattr(catalog, "rows", lambda: {"not-yet": rows["dcl"]})
    assert "planned" in cli("show", "not-yet").stdout
    assert "planned" in cli("run", "not-yet", "--data", "x").stderr


def test_run_prints_figures_and_the_model_and_takes_settings_as_flags(cli, tmp_path):
    out = tmp_path / "run"
    done = cli(
        *RUN,
        "--out",
        out,
        "--learning-rate",
        "0.25",
        "--smooth",
        "--mode=sharp",
        "--hint",
        "none",
        "--betas",
        "0.8,0.9",
    )
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.stdout
    assert str(out / "model") in done.stdout.replace("\n", "")
    settings = json.loads((out / "result.json").read_text())["settings"]
    assert settings == {
        "learning_rate": 0.25, "batch_size": 16, "smooth": True, "mode": "sharp", "hint": None, "betas": [0.8, 0.9],
    }  # fmt: skip
    assert cli("resume", out).stdout == done.stdout


def test_settings_from_a_file_and_flags_win(cli, tmp_path):
    toml, yaml = tmp_path / "a.toml", tmp_path / "a.yaml"
    toml.write_text('data = "points"\nsteps = 5\nseed = 3\n[settings]\nlearning_rate = 0.3\nbatch_size = 8\n')
    yaml.write_text("data: points\nsteps: 5\nseed: 3\nsettings:\n  learning_rate: 0.3\n  batch_size: 8\n")
    for number, path in enumerate((toml, yaml)):
        done = cli(
            "run", "toy-logistic", "--config", path, "--batch-size", "4", "--out", tmp_path / str(number)
        )
        assert done.exit_code == 0, done.output
        found = json.loads((tmp_path / str(number) / "run.json").read_text())["identity"]
        assert (found["seed"], found["budget"]) == (3, {"steps": 5})
        assert (found["settings"]["learning_rate"], found["settings"]["batch_size"]) == (0.3, 4)


def test_show_settings_prints_the_difference_from_the_paper_and_runs_nothing(cli):
    done = cli("run", "toy-logistic", "--show-settings", "--learning-rate", "0.2")
    line = next(line for line in done.stdout.splitlines() if line.startswith("learning_rate"))
    assert line.split() == ["learning_rate", "0.5", "0.2"]
    assert "1 of 6 settings differ" in done.stdout
    assert "all at their defaults" in cli("run", "toy-logistic", "--show-settings").stdout


def test_compare_prints_a_table_with_honest_sentences_and_reports(cli, tmp_path):
    out = tmp_path / "study"
    command = (
        "compare",
        "toy-nothing",
        "good:toy-logistic",
        "toy-logistic",
        "--data",
        "points",
        "--steps",
        "12",
        "--seeds",
        "3",
    )
    done = cli(*command, "--set", "good.learning_rate=0.4", "--set", "batch_size=8", "--out", out)
    assert done.exit_code == 0, done.output
    assert "toy-nothing (baseline)" in done.stdout
    assert "against toy-nothing" in done.stdout or "than toy-nothing" in done.stdout
    arms = json.loads((out / "summary.json").read_text())["arms"]
    assert arms["good"]["settings"]["learning_rate"] == 0.4
    assert {arm["settings"]["batch_size"] for arm in arms.values()} == {8}
    assert cli("resume", out).stdout == done.stdout
    page = cli("report", out).stdout.strip()
    assert Path(page) == out / "report.html"
    assert "<svg" in Path(page).read_text()
    assert cli("export", out, "--to", tmp_path / "best").exit_code == 0
    assert (tmp_path / "best" / "model.safetensors").exists()
    again = cli("export", out, "--to", tmp_path / "best")
    assert (again.exit_code, "not empty" in again.stderr) == (2, True)
    missing = cli("export", out, "--to", tmp_path / "other", "--seed", "1")
    assert (missing.exit_code, "was not kept" in missing.stderr) == (2, True)


def test_compare_shows_the_metrics_that_are_named_and_calls_no_equal_the_best(cli, tmp_path):
    same = (
        "compare",
        "one:toy-logistic",
        "two:toy-logistic",
        "--data",
        "points",
        "--steps",
        "4",
        "--seeds",
        "2",
    )
    plain = cli(*same, "--out", tmp_path / "plain")
    assert "two against one: +0 in each of 2 seeds" in plain.stdout
    assert "is the best of these seeds" not in plain.stdout
    _, *others = json.loads((tmp_path / "plain" / "summary.json").read_text())["metrics"]
    assert others
    assert not [line for line in plain.stdout.splitlines() if line.strip() == others[-1]]
    shown = cli(*same, "--metric", others[-1], "--out", tmp_path / "shown")
    assert [line for line in shown.stdout.splitlines() if line.strip() == others[-1]]
    assert cli("resume", tmp_path / "shown").stdout == shown.stdout


def test_ablate_varies_what_is_asked(cli, tmp_path):
    done = cli("ablate", "toy-logistic", "--data", "points", "--steps", "4", "--seeds", "2", "--vary", "smooth=true",
               "--vary", "betas=0.5", "--learning-rate", "0.3", "--out", tmp_path / "a")  # fmt: skip
    assert done.exit_code == 2
    assert "betas" in done.stderr
    done = cli("ablate", "toy-logistic", "--data", "points", "--steps", "4", "--seeds", "2", "--vary", "smooth=true",
               "--learning-rate", "0.3", "--out", tmp_path / "a")  # fmt: skip
    assert done.exit_code == 0, done.output
    arms = json.loads((tmp_path / "a" / "summary.json").read_text())["arms"]
    assert list(arms) == ["as-given", "smooth=True"]
    assert {arm["settings"]["learning_rate"] for arm in arms.values()} == {0.3}


def test_reproduce_writes_evidence_and_check_notices_a_change(cli, tmp_path, monkeypatch):
    from counterpoint import api
    from counterpoint.study.case import Case, Claim

    mine = Case(
        key="toy-logistic", data="points", kind="toy", baseline="toy-nothing", budget={"steps": 15}, seeds=3,
        arms={"toy-logistic": ("toy-logistic", {}), "toy-nothing": ("toy-nothing", {})},
        claims=(Claim.better("labels help", "toy-logistic", "toy-nothing"),),
    )  # fmt: skip
    monkeypatch.setattr(api, "case", lambda key: mine)
    monkeypatch.setattr(api, "case_file", lambda key: Path(__file__))
    evidence = tmp_path / "evidence"
    done = cli("reproduce", "toy-logistic", "--out", tmp_path / "work", "--evidence", evidence)
    assert done.exit_code == 0, done.output
    assert "labels help" in done.stdout
    assert cli("reproduce", "--check", "--evidence", evidence).exit_code == 0
    path = evidence / "toy-logistic.json"
    path.write_text(path.read_text().replace('"n": 3', '"n": 4', 1))
    assert cli("reproduce", "--check", "--evidence", evidence).exit_code == 2
    assert "What the paper says" in Path(cli("report", tmp_path / "work").stdout.strip()).read_text()


def test_data_check_and_recommend_say_what_was_understood(cli, monkeypatch):
    assert "points" in cli("data", "list").stdout
    assert "80 points to train on" in cli("data", "get", "points").stdout
    shown = cli("check", "--data", "points", "--model", "linear").stdout
    assert "2 classes" in shown
    assert "5 parameters" in shown
    shown = cli("recommend", "--data", "points").stdout
    assert "80 rows" in shown
    assert "few" in shown
    assert re.search(r"\S\n\nrecords: ", shown)


def test_flags_and_settings_are_read_by_their_types():
    from toy_methods import Logistic

    given = options.flags(["--learning-rate", "1e-3", "--no-smooth", "--hint=none"])
    assert options.typed(Logistic, given) == {"learning_rate": "1e-3", "smooth": "false", "hint": None}
    assert Logistic.settings(**options.typed(Logistic, given)) == Logistic(learning_rate=1e-3)
    with pytest.raises(CounterpointError, match="--name value"):
        options.flags(["loose"])


def test_sigterm_saves_exits_with_zero_and_the_same_command_goes_on(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from counterpoint.study import task; task.register('toy', 'toy_task')\n"
        "from counterpoint.methods import catalog; rows = dict(catalog.rows())\n"
        "Row = type('Row', (catalog.Row,), {'module': 'toy_methods'})\n"
        "rows['toy-logistic'] = Row(key='toy-logistic', title='', paper='', year=0, family='', kind='toy', line='')\n"
        "catalog.rows = lambda: rows\n"
        "from counterpoint.cli.main import main; main()"
    )
    toys = str(Path(__file__).parents[1] / "toys")
    command = [
        sys.executable,
        "-c",
        code,
        toys,
        "run",
        "toy-logistic",
        "--data",
        "points",
        "--seconds",
        "600",
        "--out",
        str(tmp_path / "r"),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    events = tmp_path / "r" / "events.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (events.exists() and events.stat().st_size > 2000):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "the same command goes on" in said
    assert list((tmp_path / "r" / "checkpoints").glob("step-*"))
    assert not (tmp_path / "r" / "model").exists()


@pytest.mark.slow
def test_two_processes_train_the_model_of_one_and_only_the_first_speaks(tmp_path):
    from safetensors.torch import load_file

    tail = ["run", "dcl", "--data", "digits", "--steps", "6", "--batch-size", "32", "--norm", "none", "--no-evaluate",
            "--model", "conv-small:group"]  # fmt: skip
    launch = {
        "one": [sys.executable, "-m"],
        "two": [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            "2",
            "--master-port",
            "29517",
            "-m",
        ],
    }
    for name, start in launch.items():
        done = subprocess.run(
            [*start, "counterpoint", *tail, "--out", str(tmp_path / name)],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("model: ") == 1
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in launch)
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-4
