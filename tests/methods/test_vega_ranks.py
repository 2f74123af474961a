"""Two processes end with one process's weights, through all phases of Vega."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("vega_ranks.py")


def launch(out: Path, processes: int) -> dict:
    out.mkdir()
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(several if processes > 1 else []), str(SCRIPT), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out / "result.pt", weights_only=True)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    one, two = launch(tmp_path / "one", 1), launch(tmp_path / "two", 2)
    assert (one["world"], two["world"]) == (1, 2)
    for key, value in one["weights"].items():
        torch.testing.assert_close(
            two["weights"][key], value, rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
        )
