"""Environments that break gymnasium's promise end in one line that names the environment and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoint.data.environment.gymnasium import VectorWorld, load_gymnasium
from counterpoint.data.environment.play import mean_return, play_steps
from counterpoint.errors import CounterpointError

gymnasium = pytest.importorskip("gymnasium")


class Faulty(gymnasium.Env):
    """Goes wrong at its third step in the way that ``fault`` names."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fault: str) -> None:
        self.fault, self.t = fault, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3) if self.fault == "old reset" else (np.zeros(3), {})

    def step(self, action: int) -> Any:
        self.t += 1
        late = self.t == 3
        seen = np.full(3, {"nan": np.nan, "inf": np.inf}.get(self.fault, 0.0) if late else 0.0)
        reward: Any = {"nan reward": float("nan"), "no reward": None}.get(self.fault, 1.0) if late else 1.0
        if self.fault == "raises" and late:
            raise KeyError("broken")
        if self.fault == "shape" and late:
            seen = np.zeros(4)
        return (seen, reward, False, {}) if self.fault == "old step" else (seen, reward, False, False, {})


gymnasium.register("Faulty-v0", entry_point=Faulty, max_episode_steps=20)


def world(fault: str) -> VectorWorld:
    """The world with one fault."""
    found = load_gymnasium("Faulty-v0", arguments=f'{{"fault": "{fault}"}}')
    assert isinstance(found, VectorWorld)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("nan", "step 3.*NaN"), ("inf", "step 3.*inf"), ("old step", "step 1.*terminated, truncated"), ("old reset", "reset"),
        ("nan reward", "step 3.*reward is nan"), ("no reward", "step 3.*reward|step 3.*None"), ("raises", "step 3.*KeyError"),
        ("shape", "step 3.*"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line(fault: str, words: str) -> None:
    def choose(seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(seen), dtype=torch.long)

    for play in (
        lambda: play_steps(world(fault), choose, 10, 0),
        lambda: mean_return(world(fault), choose, 2, 0),
    ):
        with pytest.raises(CounterpointError, match=f"Faulty-v0.*{words}") as error:
            play()
        assert "\n" not in str(error.value)


def test_a_world_that_never_ends_is_cut_at_its_limit() -> None:
    found = play_steps(world("none"), lambda seen: torch.zeros(len(seen), dtype=torch.long), 30, 0)
    assert found["cut"].sum() == 2
