"""Pictures from noise in any number of steps, by a network with two times (Self-E 2512.22374, eq. 22).

From t to t' < t with x_0 the network's clean picture, guided where it is asked for:

    x_t' = (1 - t') x_0 + sqrt(t'^2 - v) (x_t - (1 - t) x_0) / t + sqrt(v) z,   v = eta^2 (t'^2 / t^2) (t^2 - ((1-t)/(1-t'))^2 t'^2)

With eta = 0 this is Euler's step along the velocity. The network aims at s in [t', t]: s = t' is what self-evaluation trains,
s = t is plain flow matching. Knows no class of models: whatever gives a velocity for (x, t, s, prompts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.flow import clean_of, sampling_times, with_norm_of

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x [N, *], t [N], s [N], prompts [N, ...]) -> [N, *]."""


@dataclass(kw_only=True)
class Sampling:
    """How pictures are drawn.

    Attributes:
        steps: numbers of steps, each of which is sampled and measured.
        guidance: omega; 1 asks the network once a step, without guidance.
        eta: how much of the noise is drawn anew after each step, in [0, 1].
        landing: where a step from t to t' aims: 0 at s = t', 1 at s = t, in between at a mixture.
        shift: mu of the times; None goes by the number of the picture's patches.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8, 50)
    guidance: float = 5.0
    eta: float = 1.0
    landing: float = 0.0
    shift: float | None = None

    def __post_init__(self) -> None:
        """Numbers of steps as a tuple, also when they come out of a file."""
        self.steps = tuple(self.steps)

    def check(self) -> None:
        """Refuse what cannot be sampled.

        Raises:
            CounterpointError: with the setting, its value and what was expected.
        """
        if not self.steps or min(self.steps) < 1 or len(set(self.steps)) < len(self.steps):
            raise CounterpointError(
                f"sampling.steps={self.steps}; expected different numbers from 1 on, such as 1,2,4,8"
            )
        for name, value in (("eta", self.eta), ("landing", self.landing)):
            if not 0 <= value <= 1:
                raise CounterpointError(f"sampling.{name}={value}; expected a number from 0 to 1")


def guided(clean_cond: Tensor, clean_null: Tensor, guidance: float) -> Tensor:
    """Energy-preserving guidance: G_0 + omega (G_c - G_0), at the norm of G_c (2412.09966; the paper's formula rebuilt).

    >>> guided(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 4.0]]), 5.0)
    tensor([[3., 4.]])
    """
    return with_norm_of(clean_null + guidance * (clean_cond - clean_null), clean_cond)


@torch.no_grad()
def flow_sample(
    velocity: Velocity,
    noise: Tensor,
    prompts: Tensor,
    null: Tensor,
    *,
    steps: int,
    mu: float = 0.0,
    landing: float = 0.0,
    guidance: float = 1.0,
    eta: float = 0.0,
    fresh: Callable[[int], Tensor] | Sequence[Tensor] = (),
) -> Tensor:
    """Carry noise to pictures.

    Args:
        velocity: the network.
        noise: [N, *] where t = 1. prompts: [N, ...]. null: the same with no prompt, which guidance needs.
        steps: how many.
        mu, landing, guidance, eta: see ``Sampling``.
        fresh: [N, *] fresh noise of step k, by a call or by index; used where eta > 0.

    Returns:
        [N, *] pictures, not clipped to [-1, 1].
    """
    times = sampling_times(steps, mu, noise.dtype).to(noise.device)
    x = noise
    for k in range(steps):
        now, after = times[k], times[k + 1]
        t = now.expand(len(x))
        s = (after + landing * (now - after)).expand(len(x))
        clean = clean_of(x, t, velocity(x, t, s, prompts))
        if guidance != 1:
            clean = guided(clean, clean_of(x, t, velocity(x, t, s, null)), guidance)
        direction = (x - (1 - now) * clean) / now
        variance = torch.zeros_like(now)
        if eta > 0 and after > 0:
            variance = eta**2 * (after / now) ** 2 * (now**2 - ((1 - now) / (1 - after)) ** 2 * after**2)
        x = (1 - after) * clean + (after**2 - variance).clamp(min=0).sqrt() * direction
        if variance > 0:
            x = x + variance.sqrt() * (fresh(k) if callable(fresh) else fresh[k])
    return x
