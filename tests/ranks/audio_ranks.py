"""Train the methods for clips for a few steps; torchrun may start several processes."""

from __future__ import annotations

from pathlib import Path

from counterpoint.data.audio.load import load_audio
from counterpoint.methods.catalog import load
from counterpoint.tasks.audio import TASK
from ranks_harness import Weights, report, short_run

METHODS = {
    "plain": ("audio-classifier", {}),
    "supcon": ("speech-varieties", {"contrast": "supcon", "noise": 0.1}),
    "triplet": ("speech-varieties", {"contrast": "triplet"}),
    "mined": ("speech-varieties", {"contrast": "multi-similarity+miner", "projection": 8}),
}


def train(out: Path) -> dict[str, Weights]:
    data = load_audio(out.parent / "clips", group="prefix", sample_rate=8000)
    result = {}
    for name, (key, settings) in METHODS.items():
        with short_run(out / name, steps=4) as run:
            method = load(key).settings(batch_size=11, per_class=4, learning_rate=1e-4, **settings)
            result[name] = method.fit(TASK.load_model("conv-speech", data, 1), data, run).state_dict()
    return result


if __name__ == "__main__":
    report(train)
