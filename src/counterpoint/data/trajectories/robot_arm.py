"""JacoRobot by kinematics alone: a seven-joint arm beside a table with a laptop and a person.

A state holds 97 numbers: 7 joint angles, 7 rotation matrices (63), 7 link positions (21), 2 object centres (6). Positions
follow from the joints by the Denavit-Hartenberg chain of a seven-joint Kinova arm. Features, summed over a trajectory: the
hand's height, how far the cup is from upright, and closeness to the laptop, to the person, and to the person's front.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from counterpoint.data.trajectories.sets import TrajectoryData, divided

TWISTS = (math.pi / 2,) * 6 + (math.pi,)
OFFSETS = (-0.2755, 0.0, -0.4100, -0.0098, -0.3111, 0.0, -0.2638)
"""Metres along each joint's axis; link lengths across it are 0 for this arm."""
LAPTOP, PERSON = (-0.45, -0.30, 0.0), (-0.45, 0.30, 0.0)
REACH = 0.3
COLUMNS = (
    *(f"joint {k}" for k in range(1, 8)),
    *(f"link {k} {r}{c}" for k in range(1, 8) for r in "xyz" for c in "xyz"),
    *(f"link {k} {r}" for k in range(1, 7) for r in "xyz"),
    *("hand x", "hand y", "hand z"),
    *(f"{name} {r}" for name in ("laptop", "person") for r in "xyz"),
)
FEATURES = ("table", "upright", "laptop", "person", "proxemics")


def forward_kinematics(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations [..., 7, 3, 3] and positions [..., 7, 3] of the links for joint angles [..., 7] in radians.

    >>> rotations, positions = forward_kinematics(torch.zeros(7))
    >>> rotations.shape, positions.shape
    (torch.Size([7, 3, 3]), torch.Size([7, 3]))
    """
    frame = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=joints.dtype)).expand(
        *joints.shape[:-1], 4, 4
    )
    frames = []
    for joint, (twist, offset) in enumerate(zip(TWISTS, OFFSETS)):
        c, s = joints[..., joint].cos(), joints[..., joint].sin()
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        ct, st = math.cos(twist), math.sin(twist)
        rows = [c, -s * ct, s * st, zero, s, c * ct, -c * st, zero, zero, st * one, ct * one, offset * one, zero, zero, zero, one]  # fmt: skip
        frame = frame @ torch.stack(rows, -1).unflatten(-1, (4, 4))
        frames.append(frame)
    stacked = torch.stack(frames, -3)
    return stacked[..., :3, :3], stacked[..., :3, 3]


def arm_features(rotations: Tensor, positions: Tensor) -> Tensor:
    """[..., 5] features of states, from the links' rotations and positions."""
    hand, axis = positions[..., -1, :], rotations[..., -1, :, 0]

    def near(target: tuple[float, float, float], squeeze: float = 1.0) -> Tensor:
        gap = (hand[..., :2] - hand.new_tensor(target[:2])) * hand.new_tensor([1.0, squeeze])
        return (REACH - gap.norm(dim=-1)).clamp(min=0)

    return torch.stack([hand[..., 2], 1 - axis[..., 2], near(LAPTOP), near(PERSON), near(PERSON, 1 / 3)], -1)


def load_robot_arm(
    count: int = 600, waypoints: int = 11, train: float = 0.5, validation: float = 0.25, seed: int = 0
) -> TrajectoryData:
    """Draw smooth joint paths between a fixed start and goal, bent by random low-frequency waves.

    Args:
        count: trajectories. waypoints: states of each.
        train, validation: shares of the trajectories; the rest is the test split.
        seed: of the paths and of the split.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.tensor([2.0, 3.6, 0.3, 1.3, 0.4, 2.2, 1.0])
    goal = torch.tensor([4.0, 3.4, 0.0, 1.5, 0.0, 2.6, 1.5])
    time = torch.linspace(0, 1, waypoints)[None, :, None]
    waves = torch.stack([torch.sin(math.pi * k * time) for k in (1, 2)], -1)
    bends = 0.6 * torch.randn(count, 1, 7, 2, generator=generator) / torch.tensor([1.0, 2.0])
    joints = start + (goal - start) * time + (waves * bends).sum(-1)
    rotations, positions = forward_kinematics(joints)
    objects = torch.tensor(LAPTOP + PERSON).expand(count, waypoints, 6)
    states = torch.cat([joints, rotations.flatten(2), positions.flatten(2), objects], -1)
    features = arm_features(rotations, positions).sum(1)
    return TrajectoryData(
        *divided(states.flatten(1), features, FEATURES, train, validation, seed),
        shape=(waypoints, states.shape[-1]),
        feature_names=FEATURES,
        source="robot-arm",
        columns=COLUMNS,
        shown=(88, 89, 90, 67),
        notes=("kinematics only: no dynamics, no collisions",),
    )
