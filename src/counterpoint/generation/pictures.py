"""Pictures of a trained denoiser, from prompts in words or as tensors, with fixed seeds.

Row i of a seed is the same picture whatever is drawn beside it in the same order, and however many go through the model at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from counterpoint.generation.diffusion import Denoise, Diffusion, diffusion_sample
from counterpoint.generation.flow import shift_of
from counterpoint.generation.flow_sampler import Sampling, Velocity, flow_sample
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
    sampling: Sampling | Diffusion | None = None,
) -> Tensor:
    """Draw one picture for each prompt.

    Args:
        model: a ``models.pictures.denoiser.Denoiser``, or whatever has its call, ``shape``, ``patches``, ``sampling`` and ``prompts_of``.
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
    how = sampling or way_of(model)
    how.check()
    first = next(model.parameters())
    given = prompts if isinstance(prompts, Tensor) else model.prompts_of(prompts)

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
        if isinstance(how, Diffusion):
            clean = diffusion_sample(_denoiser(velocity, how, chunk), fresh(), how, steps)
        else:
            mu = shift_of(model.patches) if how.shift is None else how.shift
            clean = flow_sample(
                velocity, fresh(), chunk, no_prompt(chunk), steps=steps, mu=mu, landing=how.landing,
                guidance=how.guidance, eta=how.eta, fresh=fresh,
            )  # fmt: skip
        drawn.append(as_pixels(clean).cpu())
    return torch.cat(drawn) if drawn else torch.zeros(0, *model.shape, dtype=torch.uint8)


def way_of(model: Any) -> Sampling | Diffusion:
    """How a model's training left it to be sampled; plain steps of a flow where none did."""
    left = model.sampling
    return Diffusion(**left) if "path" in left else Sampling(**{"guidance": 1.0, **left})


def _denoiser(network: Velocity, how: Diffusion, prompts: Tensor) -> Denoise:
    """D of these prompts, guided: D_0 + omega (D_c - D_0)."""

    def denoise(x: Tensor, level: Tensor) -> Tensor:
        given, time = how.given(x, level)
        clean = how.clean(x, level, network(given, time, time, prompts))
        if how.guidance == 1:
            return clean
        null = how.clean(x, level, network(given, time, time, no_prompt(prompts)))
        return null + how.guidance * (clean - null)

    return denoise


def as_pixels(clean: Tensor) -> Tensor:
    """[-1, 1] as uint8."""
    return ((clean.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def as_clean(pixels: Tensor) -> Tensor:
    """uint8 as floats in [-1, 1].

    >>> as_pixels(as_clean(torch.tensor([0, 7, 255], dtype=torch.uint8))).tolist()
    [0, 7, 255]
    """
    return pixels.float() / 127.5 - 1
