"""Train image methods for a few steps on a ragged last batch; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

import torch

from counterpoint.methods.catalog import load, ready
from counterpoint.tasks.images import TASK
from ranks_harness import Weights, report, short_run

METHODS = {
    "simclr": ("simclr", {}),
    "dclw": ("dcl", {"variant": "dclw"}),
    "nnclr-dcl": ("dcl", {"variant": "nnclr-dcl", "queue_size": 24}),
    "dhel": ("multiview", {"num_views": 3}),
    "poly": ("multiview", {"num_views": 3, "loss": "pvc_geometric"}),
    "pairwise": ("multiview-pairwise", {"num_views": 3}),
    "isogclr": ("isogclr", {"temperature_rate": 0.1}),
    "sla": ("sla", {"mode": "sla+sd"}),
    "krr-st": (
        "krr-st",
        {
            "size": 6,
            "inner.widths": (4, 6),
            "target.batch_size": 11,
            "outer.batch_size": 11,
            "inner.updates": 2,
        },
    ),
}

TRAINED = {key for key, _ in METHODS.values()} | {"clip"}  # clip's data have partners: pairs_ranks.py
METHODS |= {key: (key, {}) for key, row in ready().items() if row.kind == "images" and key not in TRAINED}


def train(out: Path) -> dict[str, Weights]:
    images = TASK.load_data("digits", limit=60, evaluation_limit=20)
    result = {}
    for name, (key, settings) in METHODS.items():
        shared = {"batch_size": 11, "learning_rate": 0.05, **({} if key == "sla" else {"dim": 8})}
        method = load(key).settings(**({} if key == "krr-st" else shared), **settings)
        with short_run(out / name, steps=4) as run:
            trained = method.fit(TASK.load_model("conv-small:group", images, 1), images, run)
        by_row = {row["row"]: row["temperature"] for row in run.reported.rows("temperatures")}
        result[name] = {
            **trained.state_dict(),
            "q": torch.tensor(run.reported.figures.get("npc_multiplier", 0.0)),
            "temperatures": torch.tensor([by_row[row] for row in sorted(by_row)]),
        }
    return result


if __name__ == "__main__":
    report(train)
