"""A distance between pictures by a network: a person's own function, or a folder of an image model.

LPIPS (arXiv 1801.03924), which StyDeco uses, is a function away: ``loss = lpips.LPIPS(net="vgg")`` and ``def distance(x, y): return loss(x, y).flatten()``.
Of an image model it is half the squared distance of its features at length 1, which is not LPIPS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.imported import imported
from counterpoint.models.images.folder import FOLDERS
from counterpoint.training import Run

Distance = Callable[[Tensor, Tensor], Tensor]


def perceptual_distance(spec: str, run: Run) -> Distance | None:
    """(made, picture) in [-1, 1], [N, C, H, W] each -> [N]; None for "".

    Args:
        spec: "file.py:function", "package.module:function", the folder of an image model, or "".

    Raises:
        CounterpointError: neither a function nor a folder.
    """
    if not spec:
        return None
    if (Path(spec) / "config.json").exists():
        net = run.constant(FOLDERS.open(Path(spec)))

        def distance(made: Tensor, picture: Tensor) -> Tensor:
            one, two = (functional.normalize(_features(net, each), dim=1) for each in (made, picture))
            return 0.5 * (one - two).square().sum(1)

        return distance
    function = imported(spec)
    if isinstance(function, nn.Module):
        function = run.constant(function)

    def checked(made: Tensor, picture: Tensor) -> Tensor:
        values: Tensor = function(made, picture)
        if values.shape != made.shape[:1]:
            raise CounterpointError(
                f"weights.perceptual={spec!r} returned a tensor of shape {list(values.shape)} for {len(made)} pictures; expected one number each, [N]"
            )
        return values

    return checked


def _features(net: nn.Module, x: Tensor) -> Tensor:
    values: Tensor = net((x + 1) / 2)
    return torch.as_tensor(values).flatten(1)
