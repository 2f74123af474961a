r"""Low-rank additions to weights of a module that is not changed itself: W + scale B A, for linear layers and convolutions.

LoRA (arXiv 2106.09685), by ``torch.func.functional_call``: the sum takes the weight's place for one call, so that one module serves
several sets of additions in one graph, and the sum is what a folder without additions has to hold. A is drawn from a normal
of standard deviation 1/r, B starts at 0. Shapes: O rows of a weight, I numbers in each, r the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class LowRank(nn.Module):
    """The additions to some weights.

    Args:
        weights: name -> the weight [O, ...] that is added to; it is not kept.
        rank: r. scale: of what is added.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> more = LowRank({"weight": layer.weight}, rank=1, scale=2.0)
    >>> torch.equal(more.call(layer, torch.eye(2)), layer(torch.eye(2)))
    True
    """

    def __init__(self, weights: Mapping[str, Tensor], rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a, self.b = nn.ParameterDict(), nn.ParameterDict()
        for name, weight in weights.items():
            key = name.replace(".", "/")  # a parameter's own name holds no dot
            like: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
            self.a[key] = torch.randn(rank, weight[0].numel(), **like) / rank
            self.b[key] = torch.zeros(len(weight), rank, **like)

    def sums(self, module: nn.Module) -> dict[str, Tensor]:
        """Name -> W + scale B A, of the shape of W."""
        result = {}
        for key, a in self.a.items():
            name = key.replace("/", ".")
            weight = module.get_parameter(name)
            result[name] = weight + self.scale * (self.b[key] @ a).view_as(weight)
        return result

    def call(self, module: nn.Module, *given: Any, **options: Any) -> Any:
        """What the module makes of its input with the sums in place of its weights."""
        return functional_call(module, self.sums(module), given, options)

    @contextmanager
    def merged(self, module: nn.Module) -> Iterator[None]:
        """Let the module's own weights be the sums, as when it is written to a folder."""
        with torch.no_grad():
            sums = self.sums(module)
        before = {name: module.get_parameter(name).data for name in sums}
        try:
            for name, value in sums.items():
                module.get_parameter(name).data = value
            yield
        finally:
            for name, value in before.items():
                module.get_parameter(name).data = value


def matrices(module: nn.Module, layers: Sequence[str]) -> dict[str, Tensor]:
    """The weights of linear layers and convolutions whose names end in one of ``layers``.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2), nn.LayerNorm(2))
    >>> list(matrices(net, ["0", "2"])), list(matrices(net, ["1"]))
    (['0.weight'], ['1.weight'])
    """
    endings = tuple("." + name for name in layers)
    return {
        f"{name}.weight": part.weight
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and ("." + name).endswith(endings)
    }
