"""Run by test_evaluator_ranks.py: a module is measured by the first process, and all stop together at the same step."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from counterpoint.training import Budget, Run, distributed
from counterpoint.training.evaluator import Evaluator, Measured
from counterpoint.training.optimizer import Optimizer


def main(out: Path) -> None:
    """Write each process's steps and what it knows of the best."""
    torch.set_num_threads(1)
    values = iter([0.5, 0.9, 0.1, 0.2])
    evaluator = Evaluator(
        2, lambda net: Measured({"accuracy": (value := next(values))}, value), lambda net: None, patience=2
    )
    run = Run(out / "run", seed=1, budget=Budget(steps=50), progress=False, evaluator=evaluator)
    net = run.state(net=nn.Linear(3, 1))
    run.optimize(net, Optimizer(name="sgd", learning_rate=0.1))
    with run:
        for batch in run.batches(torch.arange(30.0).view(10, 3), 4, epochs=100):
            run.step(run.forward(net, batch.items)[:, 0] ** 2)
    rank, world = distributed.world()
    text = f"{world} {int(run.cursor.spent['steps'])} {evaluator.best} {evaluator.step} {evaluator.stopped}"
    (out / f"rank-{rank}.txt").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
