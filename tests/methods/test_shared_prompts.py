"""Whole runs with and without shared prompts: the same training up to rounding, the same bits after an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.data.language.preferences import Preference, PreferenceData, Preferences
from counterpoint.data.language.problems import load
from counterpoint.kernels.sharing import share_prompts
from counterpoint.methods.base import Method
from counterpoint.methods.baselines.dpo import DPO
from counterpoint.methods.baselines.self_rewarding import SelfRewarding
from counterpoint.methods.cream import CREAM
from counterpoint.models.language import prompt_groups
from counterpoint.models.language.characters import tiny
from counterpoint.training import Run

ROUNDS: dict[str, Any] = {
    "rounds": 1, "answers": 4, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 4, "learning_rate": 1e-3,
    "batch_size": 8, "sft_epochs": 2.0, "sft_learning_rate": 3e-3, "seed_examples": 16,
}  # fmt: skip
PAIRS: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 6}
CASES: dict[str, Method] = {
    "dpo": DPO(loss="rpo", length_weight=0.5, **PAIRS),
    "kto": DPO(loss="kto", **PAIRS),
    "adapters": DPO(lora_rank=2, **PAIRS),
    "cream": CREAM(**ROUNDS),
    "self-rewarding": SelfRewarding(**ROUNDS),
}


class Killed(Exception):
    pass


def data(method: Method) -> Any:
    if not isinstance(method, DPO):
        return load("backward-sums?digits=1&size=32&validation=8&test=8")
    rows = [
        Preference(f"what is {i}?" + "!" * (i % 4), "yes" * (1 + i % 3), "no" * (1 + i % 2))
        for i in range(24)
    ]
    return PreferenceData("made up", Preferences(rows), Preferences(rows[:4]), Preferences(rows[:4]))


def fit(name: str, out: Path, mode: str, kill_at: int | None = None, **options: Any) -> torch.Tensor:
    run = Run(out, seed=0, progress=False, checkpoint_steps=2, **options)
    step, count = run.step, iter(range(10**6))

    def counted(losses: Any, **given: Any) -> float:
        if next(count) == kill_at:
            raise Killed
        return step(losses, **given)

    run.step = counted  # type: ignore[method-assign]
    with share_prompts(mode), run:
        model = CASES[name].fit(tiny(seed=0, length=64), data(CASES[name]), run)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every shared pass."""
    seen: list[int] = []
    real = prompt_groups.shared_prompt_states

    def counted(backbone: Any, ids: Any, mask: Any, said: Any, *rest: Any) -> Any:
        seen.append(len(said))
        return real(backbone, ids, mask, said, *rest)

    monkeypatch.setattr(prompt_groups, "shared_prompt_states", counted)
    return seen


@pytest.mark.parametrize("name", CASES)
def test_training_is_the_same_up_to_rounding(name: str, tmp_path: Path, passes: list[int]) -> None:
    apart = fit(name, tmp_path / "off", "off")
    assert not passes
    shared = fit(name, tmp_path / "on", "on")
    assert passes
    # Adam divides by the gradient's own size, so that the rounding of a gradient near 0 is seen in the weights.
    torch.testing.assert_close(shared, apart, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_micro_batches(size: int, tmp_path: Path, passes: list[int]) -> None:
    whole = fit("dpo", tmp_path / "whole", "off")
    pieces = fit("dpo", tmp_path / "pieces", "on", micro_batch_size=size)
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-4)
    assert size in passes or size == 1


@pytest.mark.parametrize("name", ["dpo", "cream"])
def test_an_interrupted_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = fit(name, tmp_path / "whole", "on", micro_batch_size=4)
    with pytest.raises(Killed):
        fit(name, tmp_path / "cut", "on", kill_at=3, micro_batch_size=4)
    assert torch.equal(fit(name, tmp_path / "cut", "on", micro_batch_size=4), whole)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_reference_and_the_first_step_agree(precision: str, tmp_path: Path) -> None:
    with share_prompts("on"), Run(tmp_path, seed=0, progress=False, precision=precision) as run:  # type: ignore[arg-type]
        step, seen = run.step, []

        def once(losses: Any, **given: Any) -> float:
            seen.append(step(losses, **given))
            raise Killed

        run.step = once  # type: ignore[method-assign]
        with pytest.raises(Killed):
            CASES["adapters"].fit(tiny(seed=0, length=64), data(CASES["adapters"]), run)
    assert seen[0] == pytest.approx(math.log(2), abs=1e-6 if precision == "no" else 1e-2)
