"""Play and plan for a few rounds; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterpoint.methods.catalog import load
from counterpoint.tasks.environment import TASK
from ranks_harness import Weights, report, short_run

METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "contrastive-ucb": ("contrastive-ucb", "lock", {"rounds": 6}),
    "count-ucb": ("count-ucb", "lock", {"rounds": 6}),
}


def train(out: Path) -> dict[str, Weights]:
    result = {}
    for name, (key, spec, settings) in METHODS.items():
        data = TASK.load_data(spec)
        with short_run(out / name, steps=20) as run:
            model = TASK.load_model("auto", data, 0)
            result[name] = load(key).settings(**settings).fit(model, data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
