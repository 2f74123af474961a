"""Train methods of two modalities for a few steps on a ragged last batch; torchrun may start several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from counterpoint.methods.catalog import load
from counterpoint.tasks.images import TASK
from ranks_harness import Weights, report, short_run

METHODS = {
    "isogclr": ("isogclr", {"temperature_rate": 0.1, "bimodal": True}),
    "clip": ("clip", {"optimizer": "sgd"}),
}


def train(out: Path) -> dict[str, Weights]:
    images = TASK.load_data("digits", limit=60, evaluation_limit=20)
    partners = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    partners[40:] = partners[:20]  # some pairs of a batch repeat one another, also across ranks
    images = replace(images, train=replace(images.train, partners=partners))
    result = {}
    for name, (key, settings) in METHODS.items():
        method = load(key).settings(batch_size=11, learning_rate=0.05, dim=8, **settings)
        with short_run(out / name, steps=4) as run:
            trained = method.fit(TASK.load_model("conv-small:group", images, 1), images, run)
        rows = sorted(run.reported.rows("temperatures"), key=lambda row: row["row"])
        kept = {
            column: torch.tensor([row[column] for row in rows])
            for column in (rows[0] if rows else ())
            if column.endswith("temperature")
        }
        result[name] = {**trained.state_dict(), **kept}
    return result


if __name__ == "__main__":
    report(train)
