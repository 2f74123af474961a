"""Train the methods for clips for a few steps and write the weights; torchrun may start several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from counterpoint.data.audio import load_audio
from counterpoint.methods.catalog import load
from counterpoint.study.tasks.audio import TASK
from counterpoint.training import Budget, Run

METHODS = {
    "plain": ("audio-classifier", {}),
    "supcon": ("speech-varieties", {"contrast": "supcon", "noise": 0.1}),
    "triplet": ("speech-varieties", {"contrast": "triplet"}),
    "mined": ("speech-varieties", {"contrast": "multi-similarity+miner", "projection": 8}),
}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    data = load_audio(out.parent / "clips", group="prefix", sample_rate=8000)
    result = {}
    for name, (key, settings) in METHODS.items():
        with Run(out / name, seed=1, budget=Budget(steps=4), progress=False) as run:
            method = load(key).settings(batch_size=11, per_class=4, learning_rate=1e-4, **settings)
            trained = method.fit(TASK.load_model("conv-speech", data, 1), data, run)
        result[name] = trained.state_dict()
        world, rank = run.world, run.rank
    if rank == 0:
        torch.save({"world": world, "result": result}, out / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
