"""Stages of new intents, killed with SIGKILL at random moments, end with the unbroken run's bits: memory, teacher and table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from crash_harness import check

from counterpoint.data.audio import Audio, Clips
from counterpoint.methods.catalog import load, row
from counterpoint.models.speech import SmallSpeech
from counterpoint.study.recipe import GIVEN, recipe_of
from counterpoint.study.single import execute

SETTINGS = {
    "tasks": 3,
    "batch_size": 8,
    "memory": 8,
    "replay_share": 0.4,
    "learning_rate": 1e-3,
    "selection": "herding",
    "distillation": "tokens+sequence+audio",
    "beams": 2,
}


def clips(per_class: int, seed: int) -> Clips:
    draw = np.random.default_rng(seed)
    waves = [
        (3000 * draw.normal(size=int(draw.integers(300, 500)))).astype(np.int16) for _ in range(6 * per_class)
    ]
    lengths = torch.tensor([len(wave) for wave in waves])
    labels = torch.arange(len(waves)) % 6
    words = tuple(f"word number {label}" for label in labels.tolist())
    starts = torch.cumsum(lengths, 0) - lengths
    return Clips(
        torch.from_numpy(np.concatenate(waves)), starts, lengths, labels, ("",) * len(waves), words, words
    )


def command() -> object:
    data = Audio(clips(8, 0), clips(2, 1), clips(2, 2), tuple("abcdef"), 2000, 1.0)
    torch.manual_seed(0)
    encoder = SmallSpeech(2000, num_mels=10, widths=(16, 16))
    made = recipe_of(
        load("coconut").settings(**SETTINGS),
        row("coconut").kind,
        data=GIVEN,
        model=GIVEN,
        budget={"steps": 36},
        seed=1,
    )
    return lambda out: execute(made, out, data=data, model=encoder, progress=False, checkpoint_seconds=0.05)


def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    assert check(command(), tmp_path / "runs", trials=2, seed=0) >= 1


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    # Some kills come after the end, where a run is quicker than the one that was timed; ten must meet a running one.
    assert check(command(), tmp_path / "runs", trials=18, seed=7) >= 10
