"""Environments that break gymnasium's promise end in one line that names the environment and the step."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import pytest
import torch

from counterpoint.data.environment.checked import Checked
from counterpoint.data.environment.finite import FiniteWorld
from counterpoint.data.environment.gymnasium import GymnasiumSimulator, VectorWorld, load_gymnasium
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


class Shown(gymnasium.Env):
    """Shows one thing always, and never ends."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, space: Any, seen: Any) -> None:
        self.observation_space, self.seen = space, seen

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.seen, {}

    def step(self, action: int) -> Any:
        return self.seen, 1.0, False, False, {}


SPACES = gymnasium.spaces
PAIR = SPACES.Tuple((SPACES.Discrete(2), SPACES.Discrete(3)))


@pytest.mark.parametrize(
    ("space", "seen", "says"),
    [
        (SPACES.Discrete(4), 1.5, "is 1.5; expected a whole number from 0 to 3"),
        (SPACES.Discrete(4), np.nan, "is nan; expected a whole number from 0 to 3"),
        (SPACES.Discrete(4, start=2), 1, "is 1; expected a whole number from 2 to 5"),
        (
            SPACES.MultiDiscrete([2, 3]),
            np.array([2, 2]),
            r"expected a whole number from 0 to 1 in each place",
        ),
        (SPACES.MultiDiscrete([2, 3]), np.array([1, 2, 0]), r"has shape \[3\]; expected \[2\]"),
        (PAIR, (1, 5), "expected a whole number from 0 to 2 in each place"),
        (SPACES.Box(-np.inf, np.inf, (1,), np.float64), np.array([1e300]), "too large for float32"),
    ],
)
def test_a_state_outside_of_its_space_is_one_line(space: Any, seen: Any, says: str) -> None:
    with pytest.raises(CounterpointError, match=f"environment 'Shown', reset: the observation .*{says}"):
        Checked(Shown(space, seen), "Shown").reset(seed=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("space", "seen", "states"),
    [
        (SPACES.MultiDiscrete([2, 3]), np.array([1, 2]), 6),
        (SPACES.MultiDiscrete([2, 3], start=[1, 5]), np.array([2, 7]), 6),
        (PAIR, (1, 2), 6),
        (SPACES.Tuple((SPACES.Discrete(2, start=3), SPACES.Discrete(2))), (4, 1), 4),
    ],
)
def test_states_of_several_places_are_counted_from_their_first_values(
    space: Any, seen: Any, states: int
) -> None:
    gymnasium.register("Several-v0", entry_point=lambda: Shown(space, seen))
    try:
        found = load_gymnasium("Several-v0")
    finally:
        del gymnasium.registry["Several-v0"]
    assert isinstance(found, FiniteWorld)
    assert found.states == states + 1
    assert isinstance(found.play, GymnasiumSimulator)
    assert found.play.index(seen) == states - 1


@pytest.mark.filterwarnings("ignore")
def test_a_world_without_a_limit_is_cut_which_is_said_and_a_limit_without_end_is_refused() -> None:
    for space, seen in ((SPACES.Box(-1, 1, (1,), np.float64), np.zeros(1)), (SPACES.Discrete(3), 1)):
        gymnasium.register("Endless-v0", entry_point=lambda space=space, seen=seen: Shown(space, seen))
        gymnasium.register(
            "Long-v0", entry_point=lambda space=space, seen=seen: Shown(space, seen), max_episode_steps=10**9
        )
        try:
            endless = load_gymnasium("Endless-v0")
            assert endless.horizon == 100
            assert "an episode is cut after 100" in endless.describe()[-1]
            assert "cut after" not in " ".join(load_gymnasium("Endless-v0", horizon=7).describe())
            assert load_gymnasium("Long-v0", horizon=7).horizon == 7
            with pytest.raises(
                CounterpointError, match=r"lets an episode last 1,000,000,000 steps.*horizon=1000"
            ):
                load_gymnasium("Long-v0")
            for wrong in (0, -1, 10**6):
                with pytest.raises(CounterpointError, match="expected 1 to 100,000 steps"):
                    load_gymnasium("Endless-v0", horizon=wrong)
            with pytest.raises(CounterpointError, match="expected a JSON object"):
                load_gymnasium("Endless-v0", arguments="[1]")
        finally:
            del gymnasium.registry["Endless-v0"], gymnasium.registry["Long-v0"]


def test_what_leaves_or_fails_at_the_end_is_one_line() -> None:
    class Leaves(Shown):
        def step(self, action: int) -> Any:
            raise SystemExit(4)

        def close(self) -> None:
            raise RuntimeError("still open")

    env = Checked(Leaves(SPACES.Discrete(2), 1), "Leaves")
    env.reset(seed=0)
    with pytest.raises(CounterpointError, match="step 1: step fails with SystemExit: 4"):
        env.step(0)
    with pytest.raises(CounterpointError, match="close fails with RuntimeError: still open"):
        env.close()


OWN = """
import gymnasium, numpy
class Own(gymnasium.Env):
    observation_space, action_space = SPACE, gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample() * 0, {}
    def step(self, action):
        return self.observation_space.sample() * 0, REWARD, False, False, {}
gymnasium.register("Own-v0", Own, max_episode_steps=3)
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("space", "options"),
    [
        ("gymnasium.spaces.Box(-1, 1, (2,))", {}),
        ("gymnasium.spaces.Discrete(3)", {}),
        ("gymnasium.spaces.Discrete(3)", {"one_hot": True}),
    ],
)
def test_a_world_of_ones_own_is_its_code(
    space: str, options: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def seen(module: str, reward: str) -> str:
        (tmp_path / f"{module}.py").write_text(OWN.replace("SPACE", space).replace("REWARD", reward))
        try:
            return load_gymnasium(f"{module}:Own-v0", **options).fingerprint()
        finally:
            gymnasium.registry.pop("Own-v0", None)
            sys.modules.pop(module)
            importlib.invalidate_caches()

    first, same = seen("own_world", "1.0"), seen("own_world", "1.0")
    assert first == same != seen("own_world", "2.0")
    assert not load_gymnasium("CartPole-v1").code
