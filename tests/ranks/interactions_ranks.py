"""Train the graph recommenders for a few steps; torchrun may start several processes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from counterpoint.methods.catalog import load
from counterpoint.models.interactions.recommender import Recommender
from interaction_clusters import clusters
from ranks_harness import Weights, report, short_run

METHODS = {
    "xsimgcl": ("xsimgcl", {"keep": "best"}),
    "simgcl": ("simgcl", {}),
    "sgl": ("sgl", {}),
    "lightgcn": ("lightgcn", {}),
}


def train(out: Path) -> dict[str, Weights]:
    data = clusters(Path(tempfile.mkdtemp(dir=out)))  # each process reads a file of its own
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=20) as run:
            model = Recommender.for_data(data, dimension=16)
            result[name] = load(key).settings(batch_size=63, **settings).fit(model, data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
