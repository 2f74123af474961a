"""How commands end: a status that scripts can read, no traceback, and "saved" only where something is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from counterpoint import launched
from counterpoint.cli.shell import Terminated, command
from counterpoint.errors import CounterpointError

LAUNCHER = [
    *launched.OURS,
    *launched.ADDRESS,
    *(name for pair in launched.MPI for name in pair),
    *("GROUP_WORLD_SIZE", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"),
]


def run(*arguments: str, pipe: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    start = f"{sys.executable} -m counterpoint {' '.join(arguments)}"
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {start} {pipe}"],
        capture_output=True, text=True, errors="replace", env={**clean, **environment}, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_is_not_utf8(encoding: str) -> None:
    for arguments in (["list"], ["show", "unisd"]):
        done = run(*arguments, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "iso8859-5", "cp437", "gbk"])
def test_a_figure_keeps_its_sign_on_any_terminal(encoding: str) -> None:
    code = (
        "import sys\nfrom counterpoint.cli import main, shell\nfrom counterpoint.study.wording import signed\n"
        "main.app = lambda: print(signed(-0.5), file=sys.stderr) or print(signed(-0.5))\nsys.argv = ['counterpoint', 'x']\nmain.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for printed in (done.stdout, done.stderr):
        assert printed.decode(encoding).strip() in ("-0.5000", "\u22120.5000")


@pytest.mark.parametrize("arguments", [["list"], ["list", "--ready"], ["show", "unisd"]])
def test_a_reader_that_leaves(arguments: list[str]) -> None:
    done = run(*arguments, pipe="| head -n 1 >/dev/null")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["list"], ["recommend", "--data", "digits"], ["data", "list"], ["list", "--json"]]
)
def test_a_reader_that_leaves_at_once_is_no_failure(arguments: list[str]) -> None:
    done = run(*arguments, pipe="| true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["check", "-h"]])
def test_help_that_nobody_reads_is_no_failure(arguments: list[str]) -> None:
    done = run(*arguments, pipe="| (exec <&-; sleep 0.1)")
    assert (done.returncode, done.stderr) == (0, "")


def test_standard_output_that_is_closed_or_full() -> None:
    closed = run("list", pipe=">&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    if Path("/dev/full").exists():
        for arguments in (["list"], ["--version"], ["check", "--data", "digits"]):
            full = run(*arguments, pipe=">/dev/full")
            assert full.returncode == 2, arguments
            assert full.stderr.count("\n") == 1, full.stderr
            assert "No space left" in full.stderr or "no space left" in full.stderr


def test_the_statuses_are_in_the_help() -> None:
    assert "130" in run("--help").stdout


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_status_and_words_after_a_signal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stop: type[KeyboardInterrupt], status: int
) -> None:
    @command
    def waits(out: Path) -> None:
        raise stop

    with pytest.raises(typer.Exit) as left:
        waits(out=tmp_path)
    assert left.value.exit_code == status
    assert "nothing was saved" in capsys.readouterr().err
    (tmp_path / "checkpoints" / "step-000000001").mkdir(parents=True)
    with pytest.raises(typer.Exit):
        waits(out=tmp_path)
    assert f"saved in {tmp_path}" in capsys.readouterr().err


def test_sigterm_ends_a_command_with_143() -> None:
    code = (
        "import os, signal, time\nfrom counterpoint.cli.shell import command\n"
        "@command\ndef waits():\n    os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)\n"
        "import typer\ntry:\n    waits()\nexcept typer.Exit as left:\n    raise SystemExit(left.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "1"}, (0, 1)),
        ({"WORLD_SIZE": "2"}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, (0, 1)),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, (1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "MASTER_ADDR": "a"}, (1, 2)),
    ],
)
def test_what_a_launcher_left_is_seen_through(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[int, int]
) -> None:
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched.world() == expected
    line = launched.clear_leftovers()
    if expected == (0, 1):
        assert not any(name in os.environ for name in launched.OURS)
        assert (line is not None) == bool(
            {"RANK", "WORLD_SIZE", "PMI_SIZE"} & {n for n, v in variables.items() if v != "1" or n == "RANK"}
        )


@pytest.mark.parametrize("rank", ["0", "1"])
def test_predict_is_refused_in_several_processes(tmp_path: Path, rank: str) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    data.write_text('{"prompt": "1+1="}\n', encoding="utf-8")
    given = f"predict {tmp_path / 'nowhere'} --data {data} --out {out}"
    several = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29519"}
    done = run(given, **several)
    assert done.returncode == 2
    assert f"predict runs in one process, and this is process {rank} of 2" in done.stderr
    assert f"as counterpoint {given}" in " ".join(done.stderr.split())
    assert "nowhere holds" not in done.stderr
    assert not out.exists()
    left_over = run(given, WORLD_SIZE="2")  # of an earlier launch: it runs, up to the model that is not there
    assert left_over.returncode == 2
    assert "one process" not in left_over.stderr
    assert "nowhere" in left_over.stderr


ONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
TWO = {**ONE, "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}, "accelerate launch starts one process"),
        ({"SLURM_NTASKS": "4"}, "SLURM_NTASKS=4, .* this process trains alone"),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "2"}, "SLURM_STEP_NUM_TASKS=2, .* this process trains alone"),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_NTASKS": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "PMI_SIZE=2"),
        (ONE, None),
        ({**TWO, "GROUP_WORLD_SIZE": "1"}, None),
        ({**TWO, "GROUP_WORLD_SIZE": "1", "SLURM_NTASKS": "2"}, "torchrun knows of one machine"),
        ({**TWO, "GROUP_WORLD_SIZE": "1", "SLURM_NTASKS": "2", "RANK": "1"}, None),
        ({**TWO, "GROUP_WORLD_SIZE": "2", "SLURM_NTASKS": "2"}, None),
    ],
)  # fmt: skip
def test_a_process_that_knows_of_no_other_says_so(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str | None
) -> None:
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    line = launched.clear_leftovers()
    assert (line is None) if words is None else re.search(words, line or "")
    if launched.world() == (0, 1) and "SLURM_NTASKS" not in variables:
        assert launched.clear_leftovers() is None  # the next run of this process


def test_one_process_of_accelerate_launch_says_that_it_is_one(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "counterpoint",
    ]
    options = ["--data", "digits", "--steps", "1", "--no-evaluate", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*launch, "run", "dcl", *options], capture_output=True, text=True, env=clean, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("this process trains alone") == 1


@pytest.mark.parametrize("variables", [{"RANK": "two"}, {"RANK": "2"}])
def test_variables_that_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in ({"WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"} | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CounterpointError, match="RANK"):
        launched.world()


def test_partners_that_never_come_are_not_waited_for(tmp_path: Path) -> None:
    done = run(
        "run", "dcl", "--data", "digits", "--steps", "2", "--out", str(tmp_path / "out"),
        RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29871",
        COUNTERPOINT_MEET_SECONDS="2",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "unset RANK" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    "engine",
    ["DEEPSPEED", *(pytest.param(name, marks=pytest.mark.slow) for name in ("FSDP", "PARALLELISM_CONFIG"))],
)
def test_an_engine_that_shards_is_one_line(tmp_path: Path, engine: str) -> None:
    done = run(
        "run", "dcl", "--data", "digits", "--steps", "2", "--no-evaluate", "--out", str(tmp_path / "out"),
        **{f"ACCELERATE_USE_{engine}": "true"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"ACCELERATE_USE_{engine}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", [("--shard", "fsdp"), ()], ids=["option", "launcher"])
def test_a_method_that_does_not_train_in_shards_is_one_line(tmp_path: Path, asked: tuple[str, ...]) -> None:
    launcher = {} if asked else {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    done = run(
        "run", "dcl", "--data", "digits", "--steps", "2", "--no-evaluate", "--out", str(tmp_path / "out"), *asked, **launcher
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "dcl does not train weights in shards; docs/scale.md" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_tracker_is_one_line(tmp_path: Path) -> None:
    done = run(
        "run",
        "dcl",
        "--data",
        "digits",
        "--steps",
        "2",
        "--tracker",
        "tensorbord",
        "--out",
        str(tmp_path / "out"),
    )
    assert done.returncode == 2
    assert "did you mean 'tensorboard'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
