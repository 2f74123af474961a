"""Train the regression methods for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counterpoint.data.regression.load import build
from counterpoint.methods.catalog import load
from counterpoint.tasks.regression import TASK
from ranks_harness import Weights, report, short_run

METHODS = {
    "supremix": ("supremix", {"dim": 8, "bin_width": 1.0, "window": 3.0}),
    "supcon": ("supremix", {"dim": 8, "mix_negatives": False, "mix_positives": False, "weighted": False}),
    "regression": ("regression", {}),
    "guided": ("teacher-guidance", {"form": "network", "rounds": 2, "weight": 0.4}),
    "kernels": ("teacher-guidance", {"form": "kernel", "weight": 0.4}),
}


def name_of_size(key: str) -> str:
    return "network.batch_size" if key == "teacher-guidance" else "batch_size"


def train(out: Path) -> dict[str, Weights]:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(90, 5)).astype(np.float32)
    data = build(inputs, 3 * inputs[:, 0] + 10, np.full(90, "train"), tuple("abcde"), "made", [])
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=4) as run:
            method = load(key).settings(**{name_of_size(key): 11}, **settings)
            result[name] = method.fit(TASK.load_model("mlp:layer", data, 1), data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
