"""What tells pictures of a domain from made ones: one discriminator a domain, at two scales.

The published ones stand on frozen CLIP features; these are small convolutions on pixels, at the picture's size and at half of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.models.styles.domains import DOMAINS, Domain

SLOPE = 0.2


def _patches(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(2 * width, 1, 3, padding=1),
    )


class Discriminators(nn.Module):
    """Logits of patches at two scales, by a network a domain and scale.

    >>> two = Discriminators(1)
    >>> [tuple(level.shape) for level in two(torch.zeros(3, 1, 8, 8), "styled")]
    [(3, 4, 4), (3, 2, 2)]
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(
            {domain: nn.ModuleList(_patches(channels, width) for _ in range(2)) for domain in DOMAINS}
        )

    def forward(self, x_NCHW: Tensor, domain: Domain) -> tuple[Tensor, ...]:
        """[N, H', W'] logits at each scale; above 0 says that the picture is the domain's own."""
        whole, half = self.nets[domain].children()
        small = functional.avg_pool2d(x_NCHW, 2, ceil_mode=True)
        return whole(x_NCHW)[:, 0], half(small)[:, 0]


def discriminators(channels: int, seed: int) -> Discriminators:
    """Fresh ones from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Discriminators(channels)
