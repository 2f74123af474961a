"""Batch 8 = 4 micro-batches of 2 = 2 processes of 4: same losses, same weights, ragged masks and contrast included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("ragged_fit.py")


def launch(out: Path, processes: int, size: int = 8, micro: int = 0, launcher: str = "torchrun") -> dict:
    out.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    argv = [str(SCRIPT), str(out), str(size), str(micro)]
    if processes == 1:
        command = [sys.executable, *argv]
    elif launcher == "torchrun":
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            *argv,
        ]
    else:
        # Without --multi_gpu the launcher starts several CPU processes through MPI only; our Run picks gloo by itself.
        port = 29500 + os.getpid() % 1000
        command = [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            "--multi_gpu",
            f"--num_processes={processes}",
        ]
        command += [
            "--num_machines=1",
            "--mixed_precision=no",
            "--dynamo_backend=no",
            f"--main_process_port={port}",
            *argv,
        ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return launch(tmp_path_factory.mktemp("whole") / "one", 1)


def same(result: dict, whole: dict) -> None:
    torch.testing.assert_close(result["losses"], whole["losses"], rtol=1e-11, atol=1e-12)
    for name, value in whole["weights"].items():
        torch.testing.assert_close(
            torch.tensor(result["weights"][name]).double(),
            torch.tensor(value).double(),
            rtol=1e-9,
            atol=1e-11,
        )


@pytest.mark.parametrize("micro", [2, 3])
def test_micro_batches(tmp_path: Path, whole: dict, micro: int) -> None:
    same(launch(tmp_path / "micro", 1, micro=micro), whole)


@pytest.mark.parametrize(("launcher", "micro"), [("torchrun", 0), ("torchrun", 3), ("accelerate", 0)])
def test_two_processes(tmp_path: Path, whole: dict, launcher: str, micro: int) -> None:
    result = launch(tmp_path / "two", 2, micro=micro, launcher=launcher)
    assert result["world"] == 2
    same(result, whole)


def test_two_processes_with_uneven_batches(tmp_path: Path) -> None:
    same(launch(tmp_path / "two", 2, size=5), launch(tmp_path / "one", 1, size=5))
