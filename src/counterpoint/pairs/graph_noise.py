"""Noise as augmentation of a graph: every propagated embedding moves by a fixed length within its own orthant.

``e + eps * sign(e) * u / |u|`` with ``u`` uniform on [0, 1)^D per node, layer and pass (arXiv 2209.02544, eq. 9;
arXiv 2112.08679, eq. 4). The displacement has length eps and no gradient.

Legend: N nodes (or some of them), L layers, D dimension.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Perturbation = Callable[[Tensor, int, Tensor | None], Tensor]
"""``(embeddings_ND, layer from 1, rows or None) -> perturbed``; rows: which nodes the embeddings are of, None for all."""


def perturb(embeddings_ND: Tensor, uniform_ND: Tensor, eps: float) -> Tensor:
    """Move each row by ``eps`` within its orthant, in the direction of its uniform draw.

    A coordinate that is exactly 0 (an isolated node) stays 0. Draws of all zeros leave the row where it is.

    >>> perturb(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.3, 0.4]]), eps=0.5)
    tensor([[ 1.3000, -1.4000]])
    """
    length = torch.linalg.vector_norm(uniform_ND, dim=-1, keepdim=True)
    # 1e-12 as in torch's normalize, so that an all-zero draw divides by something
    return torch.addcmul(
        embeddings_ND, embeddings_ND.detach().sign(), uniform_ND * (eps / length.clamp_min(1e-12))
    )


def orthant_noise(eps: float, generator: torch.Generator) -> Perturbation | None:
    """A perturbation with fresh draws for every call. None for ``eps=0``, which is the clean propagation.

    Draws are made for the rows that are asked for, on the generator's device.
    """
    if eps == 0:
        return None

    def noisy(embeddings_ND: Tensor, layer: int, rows: Tensor | None) -> Tensor:
        draws = torch.rand(
            embeddings_ND.shape, generator=generator, dtype=embeddings_ND.dtype, device=generator.device
        )
        return perturb(embeddings_ND, draws.to(embeddings_ND.device), eps)

    return noisy
