"""Times and places as sines and cosines, and the network that reads a time; N values, D dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

TIME_SCALE = 1000.0
"""What times are multiplied by before their sines are taken."""


def waves(values_N: Tensor, dim: int) -> Tensor:
    """[N] in [0, 1] -> [N, dim] sines and cosines."""
    half = dim // 2
    rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=values_N.device) / max(half, 1))
    angles = TIME_SCALE * values_N[:, None] * rates.to(values_N.dtype)
    return functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, dim - 2 * half))


def grid_positions(rows: int, columns: int, dim: int) -> Tensor:
    """[rows * columns, dim]: half of the dimensions say which row a patch is in, half which column."""
    half = dim // 2
    at = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float() / TIME_SCALE
    return torch.cat([waves(at[:, 0], half), waves(at[:, 1], dim - half)], 1)


def time_mlp(width: int) -> nn.Sequential:
    """What turns sines of a time into the vector that steers a trunk."""
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
