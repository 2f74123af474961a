"""A classifier's run and one on numeric targets, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import Command, check, command

RUNS = {
    "classifier": ("sla", "digits", "conv-small", 40, {"batch_size": 16, "mode": "sla+sd"}),
    "mixtures": ("supremix", "diabetes", "mlp", 60, {"batch_size": 16, "bin_width": 25.0, "window": 60.0}),
    "distilled images": (
        "krr-st",
        "digits",
        "conv-small",
        60,
        {
            "size": 8,
            "inner.widths": (4, 6),
            "inner.networks": 2,
            "inner.updates": 5,
            "outer.batch_size": 64,
            "target.batch_size": 64,
        },
    ),
    "pictures": (
        "self-e",
        "digits",
        "dit-small:8",
        50,
        {
            "batch_size": 32,
            "ema": 0.99,
            "sampling.steps": (1, 3),
            "evaluation.widening": 0.2,
            "evaluation.fake_start": 0.5,
        },
    ),
    "styles": (
        "stydeco",
        "restyled-digits",
        "restyler-small",
        25,
        {
            "batch_size": 8,
            "learning_rate": 0.002,
            "text.rank": 2,
            "weights.decoupling": 0.1,
            "weights.cycle_perceptual": 0.0,
            "weights.identity_perceptual": 0.0,
            "prior.editor": f"{Path(__file__).parents[1] / 'generation' / 'own_editors.py'}:paint",
        },
    ),
    "pictures by flow": (
        "flow-matching",
        "digits",
        "dit-small:8",
        50,
        {"batch_size": 32, "sampling.steps": (1, 3)},
    ),
    "pictures by diffusion": (
        "edm",
        "digits",
        "unet-small",
        20,
        {"batch_size": 16, "diffusion.path": "flow", "diffusion.steps": (1, 3)},
    ),
    "pictures that are read": (
        "ddae",
        "digits",
        "dit-narrow:4",
        40,
        {
            "batch_size": 16,
            "ema": 0.99,
            "diffusion.steps": (1, 3),
            "contrast.hidden": 16,
            "contrast.dim": 8,
        },
    ),
    "captioned": (
        "sds-clip",
        "digit-pairs",
        "clip-small",
        30,
        {"batch_size": 16, "tune": "all", "mapper.steps": 8, "teacher.steps": 10, "teacher.batch_size": 16},
    ),
    "guided networks": (
        "teacher-guidance",
        "diabetes",
        "mlp",
        100,
        {"form": "network", "rounds": 3, "keep": "best"},
    ),
    "guided kernels": ("teacher-guidance", "diabetes", "mlp", 1, {"rounds": 4}),
}


def trained(name: str) -> Command:
    key, data, model, steps, settings = RUNS[name]
    return command(key, settings, data=data, model=model, budget={"steps": steps})


FAST = ("guided kernels", "mixtures")
"""Killed in every test run; all of them, more often, in the slow test."""


@pytest.mark.parametrize("name", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(trained(name), tmp_path / "runs", trials=1, seed=0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills(tmp_path: Path, name: str) -> None:
    assert check(trained(name), tmp_path / "runs", trials=20, seed=7) >= 15
