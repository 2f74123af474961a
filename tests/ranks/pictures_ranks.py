"""Train the methods that make pictures for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from counterpoint.methods.catalog import load
from counterpoint.methods.groups import settings_of
from counterpoint.tasks.pictures import TASK
from ranks_harness import Weights, report, short_run

JUDGED = {"evaluation.plain_share": 0.2, "evaluation.widening": 0.0, "evaluation.fake_start": 0.5}
DRAWN = {"diffusion.steps": (1,)}
HEADS = {"contrast.hidden": 12, "contrast.dim": 6, "contrast.norm": "none"}
METHODS = {
    "flow": ("flow-matching", {}),
    "judged": ("self-e", JUDGED),
    "mixed": ("self-e", {**JUDGED, "evaluation.target": "mixed"}),
    "diffusion": ("edm", {**DRAWN, "batch_size": 59}),
    "read": ("ddae", {**DRAWN, **HEADS}),
    "read on the straight path": (
        "ddae",
        {**DRAWN, **HEADS, "diffusion.path": "flow", "conditioning": "none"},
    ),
    "a rank without a row": ("self-e", {**JUDGED, "batch_size": 59}),
}
SHARED = {"batch_size": 11, "learning_rate": 1e-3, "sampling.steps": (1,), "warmup": 0.0, "ema": 0.9}


def train(out: Path) -> dict[str, Weights]:
    data = TASK.load_data("digits", limit=60, evaluation_limit=20, prompts="even=0,2,4,6,8; odd=1,3,5,7,9")
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=6) as run:
            shared = {name: value for name, value in SHARED.items() if name in settings_of(load(key))}
            method = load(key).settings(**{**shared, **settings})
            trained = method.fit(TASK.load_model("dit-small:4", data, 1), data, run)
        result[name] = {**trained.state_dict(), "grid": next(iter(trained.grids.values())).float() / 255}
    return result


if __name__ == "__main__":
    report(train)
