"""The straight path between pictures and noise, and the times on it. Pure; knows no model.

A picture x_0 in [-1, 1] and noise e meet at x_t = (1 - t) x_0 + t e, with t = 1 the noise. A network gives the velocity
V = e - x_0, hence the clean picture it believes in, x_t - t V (Self-E 2512.22374, eq. 6). Shapes: N pictures, * their axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHIFTS = ((512, 0.5), (4096, 1.15))
"""Patches of a picture and the shift of its times, at two points of a line (Self-E, appendix S.2)."""


def over_rows(values_N: Tensor, like: Tensor) -> Tensor:
    """[N] as [N, 1, ...], to go with the rows of ``like``."""
    return values_N.view(-1, *(1,) * (like.ndim - 1))


def noisy(clean: Tensor, noise: Tensor, t_N: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t e.

    >>> noisy(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([0.25]))
    tensor([[0.7500, 0.7500]])
    """
    t = over_rows(t_N, clean)
    return (1 - t) * clean + t * noise


def clean_of(x: Tensor, t_N: Tensor, velocity: Tensor) -> Tensor:
    """The clean picture that a velocity at x_t stands for: x_t - t V."""
    return x - over_rows(t_N, x) * velocity


def squared_norm(rows: Tensor) -> Tensor:
    """[N, *] -> [N], over all elements of a picture."""
    return rows.flatten(1).square().sum(1)


def with_norm_of(rows: Tensor, other: Tensor) -> Tensor:
    """``rows``, each stretched to the norm of its row of ``other``."""
    ratio = squared_norm(other).sqrt() / squared_norm(rows).sqrt().clamp(min=1e-12)
    return rows * over_rows(ratio, rows)


def shift_of(patches: int) -> float:
    """The shift mu that suits a picture of so many patches: more of them need more noise for the same loss of detail.

    >>> round(shift_of(4096), 9), round(shift_of(64), 3)
    (1.15, 0.419)
    """
    (few, low), (many, high) = SHIFTS
    return low + (high - low) * (patches - few) / (many - few)


def shifted(t: Tensor, mu: float) -> Tensor:
    """e^mu / (e^mu + 1/t - 1): moves times towards 1; mu = 0 leaves them.

    >>> shifted(torch.tensor([0.0, 0.5, 1.0]), 0.5)
    tensor([0.0000, 0.6225, 1.0000])
    """
    scale = math.exp(mu)
    return scale * t / (scale * t + 1 - t)


def training_times(normal_N: Tensor, mu: float, earliest: float, latest: float) -> Tensor:
    """Times of a step from standard normal draws: logit-normal, shifted, within [earliest, latest]."""
    return shifted(torch.sigmoid(normal_N), mu).clamp(earliest, latest)


def sampling_times(steps: int, mu: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """[steps + 1] from 1 down to 0, evenly spaced and then shifted."""
    return shifted(torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64), mu).to(dtype)
