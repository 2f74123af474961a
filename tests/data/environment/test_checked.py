"""Environments that break gymnasium's promise end in one line that names the environment and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoint.data.environment.checked import Checked
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
        reward: Any = (
            {
                "nan reward": float("nan"),
                "no reward": None,
                "text reward": "1.5",
                "inf reward": float("inf"),
            }.get(self.fault, 1.0)
            if late
            else 1.0
        )
        if self.fault == "raises" and late:
            raise KeyError("broken")
        if self.fault == "shape" and late:
            seen = np.zeros(4)
        if self.fault == "text end" and late:
            return (seen, reward, "no", False, {})
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
        ("shape", "step 3.*"), ("text reward", "step 3.*reward is '1.5'"), ("inf reward", "step 3.*reward is inf"),
        ("text end", "step 3.*whether the episode ended, is 'no'"),
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


class Outside(gymnasium.Env):
    """Shows a state that its space does not have, at its third step."""

    observation_space = gymnasium.spaces.Discrete(4)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action: int) -> Any:
        self.t += 1
        return (4 if self.t == 3 else self.t), 1.0, False, False, {}


gymnasium.register("Outside-v0", entry_point=Outside, max_episode_steps=20)


def test_a_state_that_there_is_not_is_one_line() -> None:
    env = Checked(gymnasium.make("Outside-v0", disable_env_checker=True), "Outside-v0")
    env.reset(seed=0)
    env.step(0)
    env.step(0)
    with pytest.raises(
        CounterpointError, match="step 3: the observation is 4; expected a whole number from 0 to 3"
    ):
        env.step(0)
