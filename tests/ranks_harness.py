"""The same training on one process and on several ends with the same weights.

A script of ranks trains in the folder it is given: ``report(train)`` is its whole main. A test starts it with
``check_two_are_one``, or with ``launch`` where it compares something of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.training import Budget, Run, distributed

Weights = Mapping[str, Tensor]


def short_run(folder: Path, steps: int) -> Run:
    """A run of a few steps, without a bar."""
    return Run(folder, seed=1, budget=Budget(steps=steps), progress=False)


def report(train: Callable[[Path], dict[str, Weights]]) -> None:
    """A script's main: train, then the first rank writes the weights by name, and how many processes there were."""
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    result = train(out)
    rank, world = distributed.world()
    if rank == 0:
        torch.save({"world": world, "result": result}, out / "result.pt")


def launch(script: Path, out: Path, processes: int, *arguments: object, launcher: str = "torchrun") -> None:
    """Run ``script out *arguments`` on so many CPU processes, which may import what lies in this folder."""
    out.mkdir()
    several = {
        "torchrun": ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"],
        # Without --multi_gpu the launcher starts several CPU processes through MPI only; our Run picks gloo by itself.
        "accelerate": [
            "accelerate.commands.launch", "--multi_gpu", f"--num_processes={processes}", "--num_machines=1",
            "--mixed_precision=no", "--dynamo_backend=no", f"--main_process_port={29500 + os.getpid() % 1000}",
        ],
    }  # fmt: skip
    start = ["-m", *several[launcher]] if processes > 1 else []
    command = [sys.executable, *start, str(script), str(out), *map(str, arguments)]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def check_two_are_one(script: Path, folder: Path, rtol: float = 1e-3, atol: float = 1e-4) -> None:
    """Compare every weight two processes end with with one process's."""
    found = []
    for processes in (1, 2):
        out = folder / f"{processes} processes"
        launch(script, out, processes)
        found.append(torch.load(out / "result.pt", weights_only=True))
        assert found[-1]["world"] == processes
    one, two = (each["result"] for each in found)
    assert one
    assert one.keys() == two.keys()
    for name, weights in one.items():
        assert weights
        assert weights.keys() == two[name].keys()
        for key, value in weights.items():
            torch.testing.assert_close(
                two[name][key],
                value,
                rtol=rtol,
                atol=atol,
                msg=lambda said, name=name, key=key: f"{name} {key}: {said}",
            )
