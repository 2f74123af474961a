"""The variance-preserving path between pictures and noise, and networks of another path read on it. Pure; knows no model.

z_t = sqrt(a_t) z_0 + sqrt(1 - a_t) e for t = 0 ... T - 1, with a_t the product of 1 - beta (DDPM 2006.11239). A point of it, divided
by sqrt(a) + sqrt(1 - a), lies on the straight path of ``generation.flow`` at the time sqrt(1 - a) / (sqrt(a) + sqrt(1 - a)).
Shapes: N pictures, * their axes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 1000


def _over_rows(values_N: Tensor, like: Tensor) -> Tensor:
    return values_N.view(-1, *(1,) * (like.ndim - 1))


def scaled_linear(steps: int = STEPS, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """[T] float64 a_t of the schedule whose square roots of beta lie on a line: Stable Diffusion's.

    >>> [round(float(scaled_linear()[t]), 4) for t in (0, 499, 999)]
    [0.9991, 0.2777, 0.0047]
    """
    beta = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64).square()
    return (1 - beta).cumprod(0)


def diffused(clean: Tensor, noise: Tensor, alpha_bar_N: Tensor) -> Tensor:
    """z_t = sqrt(a_t) z_0 + sqrt(1 - a_t) e.

    >>> diffused(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([0.25]))
    tensor([[0.5000, 0.5000]])
    """
    a = _over_rows(alpha_bar_N, clean)
    return a.sqrt() * clean + (1 - a).sqrt() * noise


def noise_of_velocity(z_t: Tensor, velocity: Tensor, alpha_bar_N: Tensor) -> Tensor:
    """The noise that a v-prediction, sqrt(a) e - sqrt(1 - a) z_0, stands for.

    >>> z_0, e, a = torch.randn(3, 4), torch.randn(3, 4), torch.rand(3)
    >>> v = a[:, None].sqrt() * e - (1 - a[:, None]).sqrt() * z_0
    >>> torch.allclose(noise_of_velocity(diffused(z_0, e, a), v, a), e, atol=1e-5)
    True
    """
    a = _over_rows(alpha_bar_N, z_t)
    return a.sqrt() * velocity + (1 - a).sqrt() * z_t


def noise_by_flow(velocity: Callable[[Tensor, Tensor], Tensor], z_t: Tensor, alpha_bar_N: Tensor) -> Tensor:
    """The noise in z_t by a flow's velocity V(x, t) = e - z_0 on the straight path.

    Args:
        velocity: (x [N, *], t [N]) -> [N, *].

    >>> z_0, e, a = torch.randn(3, 4), torch.randn(3, 4), torch.rand(3)
    >>> torch.allclose(noise_by_flow(lambda x, t: e - z_0, diffused(z_0, e, a), a), e, atol=1e-5)
    True
    """
    signal, noise = alpha_bar_N.sqrt(), (1 - alpha_bar_N).sqrt()
    t = noise / (signal + noise)
    x = z_t / _over_rows(signal + noise, z_t)
    return x + _over_rows(1 - t, x) * velocity(x, t)
