"""Rounds of CREAM, a DPO run, SELM and the unified loop, killed with SIGKILL at random moments, end with the unbroken run's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_harness import Command, check, command

SUMS = "backward-sums?digits=1&size=56&validation=8&test=8"
ROUNDS = {
    "rounds": 2, "answers": 4, "top_p": 1.0, "max_new_tokens": 4, "learning_rate": 1e-3, "batch_size": 4,
    "sft_epochs": 6.0, "epochs": 3.0, "sft_learning_rate": 3e-3, "seed_examples": 16,
}  # fmt: skip
LOOP = {
    "batch_size": 4,
    "lora_rank": 0,
    "learning_rate": 1e-3,
    "max_new_tokens": 4,
    "answers": 4,
    "passes": 2,
    "epochs": 1.0,
}
EXPLORING = {
    "rounds": 2, "alpha": 0.1, "answers": 2, "temperature": 1.0, "max_new_tokens": 4, "batch_size": 4, "lora_rank": 0,
    "learning_rate": 1e-3, "epochs": 2.0,
}  # fmt: skip
CASES = {
    "cream": ("cream", SUMS, ROUNDS),
    "reward": ("reward", f"paired:{SUMS}", {"batch_size": 4, "epochs": 2.0, "learning_rate": 1e-3}),
    "preference-degree": (
        "preference-degree",
        "described-things?size=40&validation=4&test=4",
        {"batch_size": 4, "epochs": 2.0, "learning_rate": 1e-3, "degree": {"sampled": 1, "decoys": True}},
    ),
    "adpa": (
        "adpa",
        f"paired:{SUMS}",
        {
            "batch_size": 4,
            "epochs": 2.0,
            "learning_rate": 1e-3,
            "max_new_tokens": 4,
            "top_k": 5,
            "teachers.learning_rate": 1e-3,
            "teachers.batch_size": 4,
        },
    ),
    "dpo": ("dpo", f"paired:{SUMS}", {"batch_size": 4, "epochs": 2.0, "learning_rate": 1e-3, "loss": "rpo"}),
    "selm": ("selm", f"paired:{SUMS}", {**EXPLORING, "judge": "format:[0-9]"}),
    "selm, plain first": (
        "selm",
        f"paired:{SUMS}",
        {
            **EXPLORING,
            "ranking": "replace",
            "judge": "majority",
            "plain_rounds": 1,
            "reference": "initial",
        },
    ),
    "online loop": ("suboptimal-onpolicy", SUMS, {**LOOP, "loss": "ppo", "policy.kl": 0.1, "watched": 2}),
    "offline loop": (
        "suboptimal-onpolicy",
        SUMS,
        {**LOOP, "sampling": "offline", "loss": "ipo", "minibatches": 2},
    ),
}


def trained(name: str) -> Command:
    key, data, settings = CASES[name]
    return command(key, settings, data=data, model="characters")


FAST = ("dpo", "selm", "online loop")
"""Killed in every test run; all of them, more often, in the slow test."""


@pytest.mark.parametrize("name", FAST)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, name: str) -> None:
    assert check(trained(name), tmp_path / "runs", trials=1, seed=0) == 1


def test_killed_runs_with_shared_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_SHARE_PROMPTS", "on")
    assert check(trained("dpo"), tmp_path / "runs", trials=1, seed=1) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_twenty_kills(tmp_path: Path, name: str) -> None:
    assert check(trained(name), tmp_path / "runs", trials=20, seed=7) >= 15
