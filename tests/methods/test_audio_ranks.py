"""Two processes end with one process's weights: contrast is over the global batch, noise belongs to clips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from own_clips import folder

pytest.importorskip("soundfile")

SCRIPT = Path(__file__).with_name("audio_ranks.py")


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
    folder(tmp_path / "clips", each=4)
    one, two = launch(tmp_path / "one", 1), launch(tmp_path / "two", 2)
    assert (one["world"], two["world"]) == (1, 2)
    for name, weights in one["result"].items():
        for key, value in weights.items():
            torch.testing.assert_close(
                two["result"][name][key],
                value,
                rtol=1e-3,
                atol=1e-4,
                msg=lambda m, n=name, k=key: f"{n} {k}: {m}",
            )
