"""Noise levels of pictures, what a network says at them, and the way from noise to pictures: EDM and the straight path as one thing.

At level l a noisy picture is x = a x_0 + b e: EDM (2206.00364) a = 1, b = l; the straight path a = 1 - l, b = l. A denoiser gives the
clean picture D(x, l), and on both paths ``dx/dl = (x - D) / l``, which is what sampling follows. EDM's network is wrapped,

    D = c_skip x + c_out F(c_in x, ln l / 4),   c_skip = s^2/(l^2+s^2),  c_out = l s/sqrt(l^2+s^2),  c_in = 1/sqrt(l^2+s^2),

s the pictures' deviation; on the straight path D = x - l V(x, l). Pure; knows no model. Shapes: N pictures, * their axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.flow import noisy, over_rows

Network = Callable[[Tensor, Tensor], Tensor]
"""(x [N, *], what it is given as the time [N]) -> [N, *]."""
Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x [N, *], level [N]) -> the clean picture [N, *]."""
ENDS = (1e-3, 1 - 1e-3)
"""Between which the straight path is trained: its weight is infinite at 0."""


@dataclass(kw_only=True)
class Diffusion:
    """Which noise, and how pictures are drawn out of it.

    Attributes:
        path: "edm", noise of any size beside the picture, or "flow", the straight path between picture and noise.
        mean, std: of ln(level) in training; on the straight path of logit(level).
        data_deviation: of the pictures' values, which are in [-1, 1]; EDM alone.
        steps: numbers of steps, each of which is sampled and measured.
        guidance: 1 asks the network once, without guidance.
        lowest, highest, bend: EDM's levels of sampling, and rho, how they crowd at the low end.
    """

    path: Literal["edm", "flow"] = "edm"
    mean: float | None = None
    std: float | None = None
    data_deviation: float = 0.5
    steps: tuple[int, ...] = (18,)
    guidance: float = 1.0
    lowest: float = 0.002
    highest: float = 80.0
    bend: float = 7.0

    def __post_init__(self) -> None:
        """Numbers of steps as a tuple, also when they come out of a file."""
        self.steps = tuple(self.steps)

    def check(self, prefix: str = "diffusion") -> None:
        """Refuse what cannot be trained or sampled.

        Raises:
            CounterpointError: with the setting, its value and what was expected.
        """
        if not self.steps or min(self.steps) < 1 or len(set(self.steps)) < len(self.steps):
            raise CounterpointError(
                f"{prefix}.steps={self.steps}; expected different numbers from 1 on, such as 18"
            )
        if not 0 < self.lowest < self.highest:
            raise CounterpointError(
                f"{prefix}.lowest={self.lowest} and {prefix}.highest={self.highest}; expected 0 < lowest < highest"
            )
        for name in ("data_deviation", "bend"):
            if getattr(self, name) <= 0:
                raise CounterpointError(f"{prefix}.{name}={getattr(self, name)}; expected a number above 0")

    def levels(self, normal_N: Tensor) -> Tensor:
        """Levels of a training step from standard normal draws."""
        usual = (-1.2, 1.2) if self.path == "edm" else (0.0, 1.0)
        mean, std = (own if own is not None else other for own, other in zip((self.mean, self.std), usual))
        drawn = mean + std * normal_N
        return drawn.exp() if self.path == "edm" else drawn.sigmoid().clamp(*ENDS)

    def noised(self, clean: Tensor, noise: Tensor, level_N: Tensor) -> Tensor:
        """x at the levels.

        >>> Diffusion().noised(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([3.0])).item()
        4.0
        """
        if self.path == "flow":
            return noisy(clean, noise, level_N)
        return clean + over_rows(level_N, clean) * noise

    def given(self, x: Tensor, level_N: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is given: the picture as it is scaled, and its time."""
        if self.path == "flow":
            return x, level_N
        within = (level_N.square() + self.data_deviation**2).rsqrt()
        return over_rows(within, x) * x, level_N.log() / 4

    def clean(self, x: Tensor, level_N: Tensor, output: Tensor) -> Tensor:
        """D, from what the network said of ``given(x, level)``."""
        level = over_rows(level_N, x)
        if self.path == "flow":
            return x - level * output
        whole = level.square() + self.data_deviation**2
        return self.data_deviation**2 / whole * x + level * self.data_deviation / whole.sqrt() * output

    def weight(self, level_N: Tensor) -> Tensor:
        """Of the squared error of D: EDM's (l^2 + s^2) / (l s)^2, or 1 / l^2, which makes it the velocity's error."""
        if self.path == "flow":
            return 1 / level_N.square()
        s = self.data_deviation
        return (level_N.square() + s**2) / (level_N * s) ** 2

    def near(self, level: float) -> float:
        """The level of this path at which as much of the picture is left as at EDM's ``level``: l, or l / (1 + l)."""
        return level if self.path == "edm" else level / (1 + level)

    def schedule(self, steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """[steps + 1] levels of sampling, from the noisiest down to 0.

        >>> Diffusion(path="flow").schedule(2).tolist()
        [1.0, 0.5, 0.0]
        """
        at = (
            torch.linspace(0, 1, steps, dtype=torch.float64)
            if steps > 1
            else torch.zeros(1, dtype=torch.float64)
        )
        if self.path == "flow":
            return torch.linspace(1, 0, steps + 1, dtype=torch.float64).to(dtype)
        high, low = (end ** (1 / self.bend) for end in (self.highest, self.lowest))
        return torch.cat([(high + at * (low - high)) ** self.bend, torch.zeros(1, dtype=torch.float64)]).to(
            dtype
        )


@torch.no_grad()
def diffusion_sample(denoise: Denoise, noise: Tensor, how: Diffusion, steps: int) -> Tensor:
    """Carry noise to pictures: Heun's steps for EDM (its algorithm 1), Euler's on the straight path.

    Args:
        denoise: D, guided where that is wanted.
        noise: [N, *] standard normal.

    Returns:
        [N, *] pictures, not clipped to [-1, 1].

    >>> diffusion_sample(lambda x, level: torch.full_like(x, 0.5), torch.randn(2, 3), Diffusion(), 4)[0]
    tensor([0.5000, 0.5000, 0.5000])
    """
    levels = how.schedule(steps, noise.dtype).to(noise.device)
    x = noise * levels[0]
    for now, after in itertools.pairwise(levels):
        slope = (x - denoise(x, now.expand(len(x)))) / now
        moved = x + (after - now) * slope
        if how.path == "edm" and after > 0:
            second = (moved - denoise(moved, after.expand(len(x)))) / after
            moved = x + (after - now) * (slope + second) / 2
        x = moved
    return x
