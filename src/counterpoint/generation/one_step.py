"""A diffusion model's clean picture in a single step from the noisiest time, as one-step image translation takes it.

    x_out = (z - sqrt(1 - abar) eps) / sqrt(abar)

One-step translation (arXiv 2403.12036); used by StyDeco (arXiv 2508.01215). At t = 999 of a scaled-linear schedule abar is 0.0047,
so that an error of eps weighs fifteenfold. The scheduler's own step adds noise of variance 1e-20 there, which is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_step(z: Tensor, eps: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """The clean latents that predicted noise says.

    Args:
        z: [N, *] the latents that the network saw. eps: [N, *] the noise it predicted there.
        alpha_bar: the schedule's product at that time.

    >>> one_step(torch.ones(1), torch.zeros(1), 0.25).tolist()
    [2.0]
    """
    signal = torch.as_tensor(alpha_bar, dtype=z.dtype, device=z.device)
    return (z - (1 - signal).sqrt() * eps) / signal.sqrt()


def alpha_bar(step: int = 999, count: int = 1000, first: float = 0.00085, last: float = 0.012) -> float:
    """The product of 1 - beta up to ``step`` on the scaled-linear schedule of Stable Diffusion.

    >>> round(alpha_bar(), 6)
    0.00466
    """
    betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.double) ** 2
    return float(torch.cumprod(1 - betas, 0)[step])
