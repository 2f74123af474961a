"""The combination lock played a step at a time, each step and state shown as zeros and a one: a vector world for deep methods."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from counterpoint.data.environment.finite import FiniteWorld, Tables, load_lock
from counterpoint.data.environment.gymnasium import VectorWorld


class TableSteps:
    """A finite world by its tables, with the few methods of a gymnasium environment that playing needs.

    What it shows is the place ``step * S + state``; an episode ends after its last step.
    """

    action_space = SimpleNamespace(start=0)

    def __init__(self, tables: Tables, states: int, actions: int) -> None:
        self.states, self.actions, self.horizon = states, actions, len(tables.reward)
        self.after = tables.transition.numpy().cumsum(-1)
        self.reward, self.start = tables.reward.numpy(), tables.start.numpy().cumsum()

    def reset(self, *, seed: int) -> tuple[int, dict[str, Any]]:
        """Begin an episode whose draws follow from the seed."""
        self.draws = np.random.default_rng(seed).random(self.horizon + 1)
        self.number = 0
        self.state = self._draw(self.start)
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Act: what is shown next, the reward, whether the episode is over, whether it was cut, and nothing."""
        table, pair = min(self.number, len(self.after) - 1), self.state * self.actions + action
        gain = float(self.reward[self.number, pair])
        self.number += 1
        self.state = self._draw(self.after[table, pair])
        over = self.number == self.horizon
        return min(self.number, self.horizon - 1) * self.states + self.state, gain, over, False, {}

    def close(self) -> None:
        """Nothing is open."""

    def _draw(self, edges: np.ndarray) -> int:
        state = np.searchsorted(edges, self.draws[self.number] * edges[-1], side="right")
        return min(int(state), self.states - 1)


def load_lock_world(
    horizon: int = 5, actions: int = 4, emissions: int = 3, seed: int = 0, one_hot: bool = False
) -> FiniteWorld | VectorWorld:
    """The combination lock of ``load_lock``; ``one_hot`` makes it a vector world.

    Args:
        horizon: steps of an episode. actions: in each state; one of them is right. emissions: observations of a latent state.
        seed: of the lock. one_hot: show states as vectors of zeros and a one, for deep methods.

    >>> load_lock_world(horizon=4, emissions=1, one_hot=True).width
    12
    """
    lock = load_lock(horizon, actions, emissions, seed)
    if not one_hot or lock.tables is None:
        return lock
    name = "lock" if seed == 0 else f"lock-{seed}"
    make = partial(TableSteps, lock.tables, lock.states, lock.actions)
    return VectorWorld(name, make, horizon * lock.states, lock.actions, horizon, int)
