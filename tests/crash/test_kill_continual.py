"""Stages of new intents, killed with SIGKILL at random moments, end with the unbroken run's bits: memory, teacher and table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from crash_harness import Command, check, command

from counterpoint.models.audio.encoder import SmallSpeech
from counterpoint.study.recipe import GIVEN
from own_clips import NOISE_RATE, noise

SETTINGS = {
    "tasks": 3,
    "batch_size": 8,
    "memory": 8,
    "memory.replay_share": 0.4,
    "learning_rate": 1e-3,
    "memory.selection": "herding",
    "distillation": "tokens+sequence+audio",
    "distillation.beams": 2,
}


def trained() -> Command:
    torch.manual_seed(0)
    given = {"data": noise("abcdef"), "model": SmallSpeech(NOISE_RATE, num_mels=10, widths=(16, 16))}
    return command(
        "coconut",
        SETTINGS,
        given=given,
        checkpoint_seconds=0.05,
        data=GIVEN,
        model=GIVEN,
        budget={"steps": 36},
    )


def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    assert check(trained(), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
def test_ten_kills(tmp_path: Path) -> None:
    # Some kills come after the end, where a run is quicker than the one that was timed; ten must meet a running one.
    assert check(trained(), tmp_path / "runs", trials=18, seed=7) >= 10
