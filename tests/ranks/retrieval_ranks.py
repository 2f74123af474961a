"""Train GRACE, its contrastive baseline and DiSCo for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import conversation_folder
from beir_folder import write
from counterpoint.methods.catalog import load
from counterpoint.tasks.task import task
from ranks_harness import Weights, report, short_run

KEYS = ("grace", "disco")
# Without a moment's normalisation, which turns the rounding of a gradient near 0 into a whole step.
SMALL: dict[str, Any] = {
    "answers": 3, "max_new_tokens": 4, "batch_size": 5, "minibatches": 2, "learning_rate": 0.1, "optimizer": {"name": "sgd"}, "template": "{text}",
    "reward.cut_penalty": None,
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "rollout": {"reward.cross_of": "rollout"},
    "unsupervised": {"supervised": False},
    "contrastive": {"objective": "contrastive"},
}
# Five of eleven queries: the last batch of an epoch has one, and the second process none.
SPARSE: dict[str, Any] = {
    "batch_size": 5, "learning_rate": 0.1, "optimizer": {"name": "sgd"}, "negatives.count": 3, "negatives.skip": 1, "weights.contrast": 0.3,
    "sparsity.weight": 0.01,
}  # fmt: skip
SPARSE_WAYS: dict[str, dict[str, Any]] = {
    "scores": {},
    "flops": {"sparsity.penalty": "flops", "weights.margins": 0.02},
    "vectors": {"weights.scores": 0.0, "weights.vectors": 1.0},
}


def train(out: Path) -> dict[str, Weights]:
    result = {}
    for name, settings in WAYS.items():
        with short_run(out / name, steps=4) as run:
            data = task("retrieval").load_data(
                str(write(out / f"{name}-food-{run.rank}", ("train",), size=11))
            )
            model = task("retrieval").load_model("characters", data, 0)
            result[name] = run.gathered(
                load("grace").settings(**{**SMALL, **settings}).fit(model, data, run)
            ).state_dict()
    for name, settings in SPARSE_WAYS.items():
        with short_run(out / name, steps=5) as run:
            data = task("retrieval").load_data(
                str(conversation_folder.write(out / f"{name}-dishes-{run.rank}", size=17))
            )
            assert len(data.train.queries) == 11
            model = task("retrieval").load_model("sparse-words", data, 0)
            trained = load("disco").settings(**{**SPARSE, **settings}).fit(model, data, run)
            result[name] = run.gathered(trained.queries).state_dict()
    return result


if __name__ == "__main__":
    report(train)
