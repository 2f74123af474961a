"""Train the regression methods for a few steps and write weights and predictions; torchrun may start several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from counterpoint.data.regression import build
from counterpoint.methods.catalog import load
from counterpoint.study.tasks.regression import TASK
from counterpoint.training import Budget, Run

METHODS = {
    "supremix": ("supremix", {"dim": 8, "bin_width": 1.0, "window": 3.0}),
    "supcon": ("supremix", {"dim": 8, "mix_negatives": False, "mix_positives": False, "weighted": False}),
    "regression": ("regression", {}),
}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(90, 5)).astype(np.float32)
    data = build(inputs, 3 * inputs[:, 0] + 10, np.full(90, "train"), tuple("abcde"), "made", [])
    result = {}
    for name, (key, settings) in METHODS.items():
        with Run(out / name, seed=1, budget=Budget(steps=4), progress=False) as run:
            method = load(key).settings(batch_size=11, **settings)
            trained = method.fit(TASK.load_model("mlp:layer", data, 1), data, run)
        result[name] = trained.state_dict()
        world, rank = run.world, run.rank
    if rank == 0:
        torch.save({"world": world, "result": result}, out / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
