"""Train methods whose answers a server samples, for a few steps; torchrun may start several processes, with weights in shards or not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from test_engine import CRITICISED, HINTED

from counterpoint.methods.catalog import load
from counterpoint.models.language.language import load as load_language
from counterpoint.study.store import events
from counterpoint.tasks.task import task
from ranks_harness import Weights, report, short_run

# Without a moment's normalisation, which turns the rounding of a gradient near 0 into a whole step.
LEARNT: dict[str, Any] = {
    "optimizer": {"name": "sgd"},
    "learning_rate": 0.1,
    "batch_size": 7,
    "max_new_tokens": 5,
}
ROUNDS: dict[str, Any] = {
    "rounds": 2, "answers": 3, "max_new_tokens": 3, "optimizer": {"name": "sgd"}, "learning_rate": 0.1, "sft_epochs": 1.0,
    "sft_learning_rate": 0.1, "batch_size": 5, "seed_examples": 5,
}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {**LEARNT, "lora_rank": 2, "judge": "majority", "answers": 3}),
    "sdft": ("sdft", {**LEARNT, "lora_rank": 0}),
    "rltf": ("rltf", {**LEARNT, **CRITICISED, "lora_rank": 2}),
    "pi-distill": ("pi-distill", {**LEARNT, **HINTED, "lora_rank": 0}),
    "suboptimal-onpolicy": (
        "suboptimal-onpolicy",
        {
            **LEARNT,
            "lora_rank": 0,
            "loss": "reinforce",
            "judge": "majority",
            "passes": 1,
        },
    ),
    "cream": ("cream", {**ROUNDS, "lora_rank": 0}),
    "self-rewarding": ("self-rewarding", {**ROUNDS, "lora_rank": 2}),
}


def moved(trained: Weights, start: Weights) -> float:
    """How far the weights went at most; the first process alone has them whole."""
    there = [n for n in start if n in trained and not trained[n].is_meta]
    return max((float((trained[n] - start[n]).abs().max()) for n in there), default=0.0)


def train(out: Path) -> dict[str, Weights]:
    folder, url = Path(sys.argv[2]), sys.argv[3]
    data = task("problems").load_data("worked-sums?size=15&validation=2&test=2")
    result: dict[str, Weights] = {}
    for name, (key, settings) in METHODS.items():
        settings = {**settings, "sampler.kind": "vllm", "sampler.url": url, "sampler.model": "base"}
        settings |= {"adapter.dropout": 0.0} if settings["lora_rank"] else {}
        model = load_language(folder, dtype=torch.float64)
        start = {n: v.clone() for n, v in model.state_dict().items()}
        with short_run(out / name, steps=9) as run:
            assert (run.mesh is not None) == ("COUNTERPOINT_SHARD" in os.environ)
            trained = run.gathered(load(key).settings(**settings).fit(model, data, run))
        steps = events(run.out)
        result[name] = {
            **{n: v for n, v in trained.state_dict().items() if isinstance(v, torch.Tensor)},
            "moved": torch.tensor(moved(trained.merged().state_dict(), start)),
            "engine_gap": torch.tensor(
                [v for event in steps for n, v in event.items() if n.endswith("engine_gap")]
            ),
        }
    return result


if __name__ == "__main__":
    report(train)
