"""Train sds-clip for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from counterpoint.methods.catalog import load
from counterpoint.tasks.captioned import TASK
from ranks_harness import Weights, report, short_run

PHASES = {"mapper.steps": 3, "teacher.steps": 3, "teacher.batch_size": 11}
METHODS = {
    "distilled": ("sds-clip", {"tune": "all"}),
    "dropped jacobian": ("sds-clip", {"distillation.gradient": "sds", "distillation.captions": "shuffled"}),
    "contrast alone": ("sds-clip", {"distillation.weight": 0.0, "tune": "layer-norms and projections"}),
    "a rank without a row": ("sds-clip", {"batch_size": 1, "mask_repeats": False, "tune": "all"}),
}
SHARED = {"batch_size": 11, "learning_rate": 1e-3, **PHASES}


def train(out: Path) -> dict[str, Weights]:
    data = TASK.load_data("digit-pairs", pairs=60, items=4)
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=12) as run:
            method = load(key).settings(**{**SHARED, **settings})
            trained = method.fit(TASK.load_model("clip-small", data, 1), data, run).state_dict()
        # No answer depends on the keys' biases: Adam walks along the rounding errors of a gradient of 0.
        result[name] = {name: value for name, value in trained.items() if not name.endswith("k_proj.bias")}
    return result


if __name__ == "__main__":
    report(train)
