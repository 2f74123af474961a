"""Train the methods of trajectories for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from counterpoint.methods.catalog import load
from counterpoint.tasks.trajectories import TASK
from ranks_harness import Weights, report, short_run

METHODS = {key: (key, {}) for key in ("sirl", "trajectory-vae", "multi-preference", "preferences-only")}


def train(out: Path) -> dict[str, Weights]:
    data = TASK.load_data("gridrobot")
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=4) as run:
            model = TASK.load_model("encoder-6", data, 0)
            result[name] = dict(load(key).settings(**settings).fit(model, data, run).state_dict())
    # Distances between embeddings do not depend on the last layer's bias: its gradient is rounding, which Adam scales up.
    del result["sirl"]["network.4.bias"]
    return result


if __name__ == "__main__":
    report(train)
