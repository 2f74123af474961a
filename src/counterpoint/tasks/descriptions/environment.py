"""Environments: bundled worlds, and gymnasium's by id."""

from __future__ import annotations

import re

from counterpoint.tasks.descriptions.description import Description

ID = re.compile(r"[\w./:-]+-v\d+")
"""How gymnasium names its environments."""


def name(given: str) -> bool:
    """Whether a name has the form of gymnasium's ids."""
    return ID.fullmatch(given) is not None


DESCRIPTION = Description(
    kind="environment",
    looks="a name of the form that gymnasium's ids have, such as CartPole-v1",
    loaders={
        "": "counterpoint.data.environment.gymnasium:load_gymnasium",
        "lock": "counterpoint.data.environment.stepped:load_lock_world",
        "game": "counterpoint.data.environment.finite:load_game",
    },
    bundled={
        "lock": "a combination lock of 5 steps: one right action in four at every step, reward only at the end",
        "game": "a random low-rank game of two players, zero-sum",
        "gym:FrozenLake-v1": "a walk over a frozen lake, or any other gymnasium id after 'gym:' (extra 'rl')",
    },
    name=name,
)
