"""P6: start-up of the command line, and what the Run adds to a hand-written training step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from harness import Step, Workload, main

STEPS = {"steps": 300}
FEW = {"steps": 20}
WORKLOADS = [
    Workload("p6-help", ("ours", "trl"), {"runs": 5}, {"runs": 1}, "< 0.25 s, no torch", compare=False, goals={"seconds": 0.25}),
    Workload("p6-list", ("ours",), {"runs": 5}, {"runs": 1}, "< 0.25 s, no torch", compare=False, goals={"seconds": 0.25}),
    Workload("p6-step", ("ours", "hand-written"), STEPS, FEW, "< 1 ms per step over the hand-written loop", compare=False, goals={"milliseconds_over": 1}),
]  # fmt: skip


def prepare(workload: Workload, arm: str, sizes: dict[str, int]) -> Step:
    if workload.name == "p6-step":
        return lambda: steps(arm, sizes["steps"])
    what = ["list"] if workload.name == "p6-list" else ["--help"]
    module = "counterpoint.cli.main" if arm == "ours" else "trl.cli"
    python = counterpoint_python() if arm == "ours" else sys.executable
    attribute = "main"
    code = f"import sys; sys.argv = ['x', *{what!r}]; from {module} import {attribute}; {attribute}()"

    def step() -> dict:
        taken = []
        for _ in range(sizes["runs"]):
            start = time.perf_counter()
            subprocess.run([python, "-c", code], capture_output=True, check=True)
            taken.append(time.perf_counter() - start)
        return {"seconds": sorted(taken)[len(taken) // 2]}

    return step


def counterpoint_python() -> str:
    """The project's environment: the peers' one lacks the command line's packages."""
    own = Path(__file__).resolve().parent.parent / ".venv/bin/python"
    return str(own) if own.exists() else sys.executable


def steps(arm: str, count: int) -> dict:
    model = torch.nn.Linear(4, 1)
    x = torch.randn(count * 8, 4)
    start = time.perf_counter()
    if arm == "ours":
        from counterpoint.training import Optimizer, Run

        class Rows:
            def __len__(self) -> int:
                return len(x)

            def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
                return x[index]

        with tempfile.TemporaryDirectory() as folder:
            run = Run(Path(folder), progress=False)
            trained = run.state(model=model)
            run.optimize(trained, Optimizer(name="sgd", learning_rate=0.01))
            start = time.perf_counter()
            for batch in run.batches(Rows(), 8, epochs=1):
                run.step(trained(batch.items).square().sum(1))
            taken = time.perf_counter() - start
    else:
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for rows in torch.randperm(len(x)).split(8):
            model(x[rows]).square().sum(1).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        taken = time.perf_counter() - start
    return {"milliseconds_per_step": taken / count * 1e3}


if __name__ == "__main__":
    main(__file__, WORKLOADS, prepare)
