"""Pictures of a trained denoiser, from prompts in words or as tensors, with fixed seeds.

Row i of a seed is the same picture whatever is drawn beside it in the same order, and however many go through the model at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.generation.flow import shift_of
from counterpoint.generation.flow_sampler import Sampling, flow_sample
from counterpoint.models import passes
from counterpoint.models.pictures.prompts import no_prompt

CHUNK = 256
"""Pictures that share a stream of random numbers."""


@torch.no_grad()
def pictures(
    model: Any,
    prompts: Sequence[str | None] | Tensor,
    *,
    steps: int = 4,
    seed: int = 0,
    sampling: Sampling | None = None,
) -> Tensor:
    """Draw one picture for each prompt.

    Args:
        model: a ``models.pictures.dit.DiT``, or whatever has its call, ``shape``, ``patches``, ``sampling`` and ``prompts_of``.
        prompts: N names or captions (None asks for nothing), or the tensor that the model reads.
        steps: how many.
        seed: of noise.
        sampling: how; None as the model was left by its training.

    Returns:
        [N, C, H, W] uint8 on the CPU.

    >>> from counterpoint.models.pictures.dit import DiT
    >>> net = DiT((1, 4, 4), width=8, depth=1, names=("odd", "even"))
    >>> pictures(net, ["odd", None, "even"], steps=2).shape
    torch.Size([3, 1, 4, 4])
    """
    how = sampling or Sampling(**{"guidance": 1.0, **model.sampling})
    how.check()
    first = next(model.parameters())
    given = prompts if isinstance(prompts, Tensor) else model.prompts_of(prompts)
    mu = shift_of(model.patches) if how.shift is None else how.shift

    def velocity(x: Tensor, t: Tensor, s: Tensor, wanted: Tensor) -> Tensor:
        parts = [
            model(*(each[list(rows)] for each in (x, t, s, wanted)))
            for rows in passes.over(range(len(x)), CHUNK)
        ]
        return torch.cat(parts)

    drawn = []
    for number, chunk in enumerate(given.split(CHUNK)):
        stream = torch.Generator().manual_seed((seed << 20) + number)
        shape = (len(chunk), *model.shape)

        def fresh(step: int = 0, stream: torch.Generator = stream, shape: tuple[int, ...] = shape) -> Tensor:
            return torch.randn(shape, generator=stream).to(first.device, first.dtype)

        chunk = chunk.to(first.device)
        clean = flow_sample(
            velocity, fresh(), chunk, no_prompt(chunk), steps=steps, mu=mu, landing=how.landing,
            guidance=how.guidance, eta=how.eta, fresh=fresh,
        )  # fmt: skip
        drawn.append(as_pixels(clean).cpu())
    return torch.cat(drawn) if drawn else torch.zeros(0, *model.shape, dtype=torch.uint8)


def as_pixels(clean: Tensor) -> Tensor:
    """[-1, 1] as uint8."""
    return ((clean.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def as_clean(pixels: Tensor) -> Tensor:
    """uint8 as floats in [-1, 1].

    >>> as_pixels(as_clean(torch.tensor([0, 7, 255], dtype=torch.uint8))).tolist()
    [0, 7, 255]
    """
    return pixels.float() / 127.5 - 1
