"""Score distillation: what is made must be a picture that a frozen denoiser, given the caption, can denoise.

    L = || e_theta(z_t, t, c) - e ||^2,   z_t = sqrt(a_t) z_0 + sqrt(1 - a_t) e   (SDS-CLIP 2307.09233; DreamFusion 2209.14988, eq. 3)

"full" is the gradient of L, through the denoiser; "sds" leaves the denoiser's Jacobian out and takes 2 (e_theta - e) as the
gradient at z_t. The values are equal. Shapes: N pictures, * their axes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.generation.flow import squared_norm

Gradient = Literal["full", "sds"]


def score_distillation_sampling(
    predicted: Tensor, noise: Tensor, z_t: Tensor, gradient: Gradient = "full", *, per_element: bool = False
) -> Tensor:
    """The squared error of the predicted noise.

    Args:
        predicted: [N, *] the denoiser's answer at z_t. With "sds" it needs no graph.
        noise: [N, *] what was added. z_t: [N, *] the noised picture, which the gradient goes to.
        gradient: "full" or "sds".
        per_element: the mean over a picture's elements in place of the sum.

    Returns:
        [N].

    Raises:
        CounterpointError: shapes that differ, or another gradient.

    >>> import torch
    >>> z = torch.zeros(1, 2, requires_grad=True)
    >>> loss = score_distillation_sampling(torch.tensor([[1.0, 3.0]]), torch.ones(1, 2), z, "sds")
    >>> loss.tolist(), torch.autograd.grad(loss.sum(), z)[0].tolist()
    ([4.0], [[0.0, 4.0]])
    """
    if not predicted.shape == noise.shape == z_t.shape:
        raise CounterpointError(
            f"predicted {tuple(predicted.shape)}, noise {tuple(noise.shape)} and z_t {tuple(z_t.shape)}; expected one shape [N, ...]"
        )
    if gradient not in ("full", "sds"):
        raise CounterpointError(f"gradient='{gradient}'; expected 'full' or 'sds'")
    loss = squared_norm(predicted - noise)
    if gradient == "sds":
        pull = (2 * (predicted - noise).detach() * z_t).flatten(1).sum(1)
        loss = loss.detach() + (pull - pull.detach())
    return loss / max(z_t[:1].numel(), 1) if per_element else loss
