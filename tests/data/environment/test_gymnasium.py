"""Gymnasium environments by their ids, also a person's own; what fits no method is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from counterpoint.data.environment.gymnasium import VectorWorld, load_gymnasium
from counterpoint.data.environment.play import mean_return, play_steps
from counterpoint.data.environment.stepped import load_lock_world
from counterpoint.errors import CounterpointError

gymnasium = pytest.importorskip("gymnasium")

OWN = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Corridor(gymnasium.Env):
    observation_space = spaces.Box(-9, 9, (3,), np.float64)
    action_space = spaces.Discrete(2, start=5)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.array([0.0, 1.0, 2.0]), {}

    def step(self, action):
        assert action in (5, 6), action
        self.place += 1 if action == 6 else -1
        return np.array([self.place, 1.0, 2.0]), float(action == 6), self.place == 3, False, {}


class Pictures(Corridor):
    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)


class Grey(Corridor):
    observation_space = spaces.Box(0, 255, (8, 8), np.uint8)


class Named(Corridor):
    observation_space = spaces.Dict({"place": spaces.Discrete(4)})


class Needy(Corridor):
    def __init__(self):
        raise gymnasium.error.DependencyNotInstalled("Box3D is not installed\\nrun pip install box3d")


class Broken(Corridor):
    def __init__(self):
        raise RuntimeError("no map\\nwas found")


for name in (Corridor, Pictures, Grey, Named, Needy, Broken):
    gymnasium.register(f"{name.__name__}-v3", entry_point=name, max_episode_steps=7)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder, which nothing but the current folder leads to."""
    (tmp_path / "own_worlds.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    sys.modules.pop("own_worlds", None)
    yield "own_worlds"
    for name in [name for name in gymnasium.registry if name.endswith("-v3")]:
        if "own_worlds" in str(gymnasium.registry[name].entry_point):
            del gymnasium.registry[name]


@pytest.mark.parametrize(
    ("name", "width", "actions", "horizon"),
    [("CartPole-v1", 4, 2, 500), ("Acrobot-v1", 6, 3, 500), ("MountainCar-v0", 2, 3, 200)],
)
def test_ids_of_gymnasium_are_vector_worlds(name: str, width: int, actions: int, horizon: int) -> None:
    world = load_gymnasium(name)
    assert isinstance(world, VectorWorld)
    assert (world.width, world.actions, world.horizon) == (width, actions, horizon)


def test_a_module_of_ones_own_registers_its_environment(own: str) -> None:
    world = load_gymnasium(f"{own}:Corridor-v3")
    assert (world.width, world.actions, world.horizon) == (3, 2, 7)
    steps = play_steps(world, lambda x: torch.ones(len(x), dtype=torch.long), 5, seed=0)
    assert steps["observation"][:, 0].tolist() == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    assert steps["done"].tolist() == [False, False, True] * 2
    assert not steps["cut"].any()
    left = play_steps(world, lambda x: torch.zeros(len(x), dtype=torch.long), 1, seed=0)
    assert left["cut"].tolist() == [False] * 6 + [True]
    assert mean_return(world, lambda x: torch.ones(len(x), dtype=torch.long), 2, seed=0) == 3.0


def test_states_are_shown_as_zeros_and_a_one() -> None:
    lake = load_gymnasium("FrozenLake-v1", one_hot=True, arguments='{"is_slippery": false}')
    assert isinstance(lake, VectorWorld)
    assert (lake.width, lake.actions) == (16, 4)
    right_then_down = iter([2, 2, 1, 1, 1, 2])
    steps = play_steps(lake, lambda _: torch.tensor([next(right_then_down)]), 1, seed=0)
    assert steps["observation"].argmax(1).tolist() == [0, 1, 2, 6, 10, 14]
    assert torch.equal(steps["observation"].sum(1), torch.ones(6))
    assert steps["observation"].max() == 1.0
    assert steps["reward"].tolist() == [0, 0, 0, 0, 0, 1]
    assert steps["done"].tolist() == [False] * 5 + [True]
    assert "tells the state" in lake.describe()[0]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("CartPol-v1", "did you mean 'CartPole-v1'"),
        ("Zzzzzz-v9", "module:Name-v0"),
        ("Pendulum-v1", "finitely many actions"),
        ("nothing_here:World-v0", "No module named 'nothing_here'"),
        ("{own}:Corridor-v9", "no environment"),
        ("{own}:Pictures-v3", "shows images (8, 8, 3)"),
        ("{own}:Grey-v3", "shows images (8, 8)"),
        ("{own}:Named-v3", "FlattenObservation"),
        ("{own}:Needy-v3", "needs more: Box3D is not installed"),
        ("{own}:Broken-v3", "RuntimeError: no map was found"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(own: str, spec: str, says: str) -> None:
    with pytest.raises(CounterpointError) as caught:
        load_gymnasium(spec.format(own=own))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_lock_played_by_steps_is_the_lock_of_the_tables() -> None:
    lock = load_lock_world(horizon=3, actions=2, emissions=2)
    world = load_lock_world(horizon=3, actions=2, emissions=2, one_hot=True)
    assert isinstance(world, VectorWorld)
    assert (world.width, world.actions, world.horizon) == (18, 2, 3)
    right = (
        lock.tables.reward[-1].view(6, 2).argmax(1)
    )  # of the last step; before it, as the tables say who stays good
    moves = lock.tables.transition[:2, :, :4].sum(-1).view(2, 6, 2).argmax(2)
    best = torch.cat([moves.flatten(), right])

    def choose(x: torch.Tensor) -> torch.Tensor:
        return best[x.argmax(-1)]

    steps = play_steps(world, choose, 60, seed=3)
    assert torch.equal(steps["observation"].argmax(1) // 6, torch.arange(60) % 3)
    assert steps["done"].tolist() == [False, False, True] * 20
    assert steps["reward"].tolist() == [0.0, 0.0, 1.0] * 20
    assert (
        len(steps["observation"].argmax(1).unique()) == 12
    )  # every good state of every step, and no dead one
    assert mean_return(world, lambda x: 1 - choose(x), 20, seed=0) == 0.0
    shares = play_steps(world, lambda x: torch.zeros(len(x)).long(), 3000, seed=1)
    begun = shares["observation"].argmax(1)[::3].bincount(minlength=18)
    assert begun[:4].min() > 180
    assert begun[4:].sum() == 0
