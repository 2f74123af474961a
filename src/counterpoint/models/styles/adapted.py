r"""A frozen linear layer with a low-rank adapter for each of two domains: y = W x + b + scale B_d A_d x.

LoRA (arXiv 2106.09685): A is drawn from a normal of standard deviation 1/r, B starts at 0. The domain is an argument of the call and not a state of the
layer, as PEFT's active adapter is: both domains stand in one graph here, and a piece that is computed again in the backward pass
must meet the same adapter.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.models.styles.domains import DOMAINS, Domain

Mode = Literal["separate", "shared", "frozen"]


def adapted(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """[..., I] -> [..., O] of weight [O, I], with a [r, I] and b [O, r].

    >>> one = torch.ones(1, 1)
    >>> adapted(one, one, None, one, one, 0.5).item()
    1.5
    """
    return functional.linear(x, weight, bias) + scale * functional.linear(functional.linear(x, a), b)


class TwoAdapters(nn.Module):
    """A frozen ``linear`` with an adapter a domain; "shared" has one for both.

    Args:
        linear: what is adapted; its weights are held.
        rank: r. scale: of what the adapter adds. mode: how many adapters there are.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, mode: Mode) -> None:
        super().__init__()
        self.linear, self.scale = linear.requires_grad_(False), scale
        names = {"separate": DOMAINS, "shared": ("both",), "frozen": ()}[mode]
        outs, ins = linear.weight.shape
        like: dict[str, Any] = {"dtype": linear.weight.dtype, "device": linear.weight.device}
        self.a = nn.ParameterDict({name: torch.randn(rank, ins, **like) / rank for name in names})
        self.b = nn.ParameterDict({name: torch.zeros(outs, rank, **like) for name in names})

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        """[..., I] -> [..., O]."""
        name = "both" if "both" in self.a else domain
        if name not in self.a:
            return self.linear(x)
        return adapted(x, self.linear.weight, self.linear.bias, self.a[name], self.b[name], self.scale)
