"""GridRobot: monotone walks over a 5 by 5 grid with an end-effector angle, past a laptop and two obstacles.

Every walk goes from one corner to the opposite one in eight unit moves (70 walks) and holds one of seven angles: 490
trajectories of 19 raw numbers, to which numbers that mean nothing may be added. A person cares about the mean distances
to the three objects and about how far the hand is tilted.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from counterpoint.data.trajectories.sets import TrajectoryData, divided

SIDE = 5
OBJECTS = {"laptop": (1.0, 2.0), "first obstacle": (3.0, 1.0), "second obstacle": (3.0, 3.0)}
ANGLES = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)


def walks() -> Tensor:
    """[70, 9, 2] all monotone walks from (0, 0) to (4, 4), as (x, y) states.

    >>> walks().shape, walks()[0, -1].tolist()
    (torch.Size([70, 9, 2]), [4.0, 4.0])
    """
    moves = 2 * (SIDE - 1)
    positions = torch.zeros(70, moves + 1, 2)
    for row, right in enumerate(combinations(range(moves), SIDE - 1)):
        steps = torch.tensor([[1.0, 0.0] if move in right else [0.0, 1.0] for move in range(moves)])
        positions[row, 1:] = steps.cumsum(0)
    return positions


def load_grid_robot(
    nuisance: int = 12, train: float = 0.51, validation: float = 0.245, seed: int = 0
) -> TrajectoryData:
    """Build the 490 trajectories.

    Args:
        nuisance: standard normal numbers added to every trajectory's input, which no person cares about.
        train, validation: shares of the trajectories; the rest is the test split.
        seed: of the split and of the nuisance.
    """
    paths = walks().repeat_interleave(len(ANGLES), 0)
    angles = torch.tensor(ANGLES).repeat(70)
    near = torch.stack(
        [(paths - torch.tensor(target)).norm(dim=-1).mean(1) for target in OBJECTS.values()], 1
    )
    features = torch.cat([near, angles.abs()[:, None]], 1)
    noise = torch.randn(len(paths), nuisance, generator=torch.Generator().manual_seed(seed + 1))
    inputs = torch.cat([paths.flatten(1), angles[:, None] / 90.0, noise], 1)
    names = (*(f"distance to the {name}" for name in OBJECTS), "tilt")
    return TrajectoryData(
        *divided(inputs, features, names, train, validation, seed),
        shape=(2 * SIDE - 1, 2),
        columns=("x", "y"),
        feature_names=names,
        source="gridrobot",
        notes=(f"{nuisance} of the raw numbers are noise that means nothing",) if nuisance else (),
        layout="grid",
    )
