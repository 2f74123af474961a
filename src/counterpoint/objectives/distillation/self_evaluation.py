"""Self-evaluation of a flow model with two times (Self-E, arXiv 2512.22374, eqs. 7, 14, 16-21 and s.6).

A picture x_0 that the network believes in, from time t and meant for time s < t, is noised again to s, and the same network
judges it there with and without the prompt. The difference is a direction in which the picture should move; the data term
keeps it a picture. Pure functions; shapes: N pictures, * their axes, t and s [N] with 0 <= s <= t <= 1.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from counterpoint.generation.flow import over_rows, squared_norm, with_norm_of

Target = Literal["renormalised", "mixed"]


def self_weight(t_N: Tensor, s_N: Tensor) -> Tensor:
    """lambda = t/(1-t) - s/(1-s) = (t-s) / ((1-t)(1-s)), eq. 17: 0 where s = t, infinite at t = 1.

    >>> import torch
    >>> self_weight(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 0.5]))
    tensor([1., 0.])
    """
    return (t_N - s_N) / ((1 - t_N) * (1 - s_N))


def judged_picture(
    predicted: Tensor, cond: Tensor, uncond: Tensor, fake: Tensor | None = None, share: float = 1.0
) -> Tensor:
    """x_self = x_0 - Delta, a constant, with Delta = k (G_null - G_c) + (1-k) (G_fake - G_c), eqs. 14 and s.6.

    Args:
        predicted: [N, *] the network's clean picture. cond, uncond: [N, *] its judgements of it, noised again, with and
            without the prompt. fake: the same with the prompt that stands for the model's own pictures.
        share: k; 1 where there is no ``fake``.
    """
    delta = share * (uncond - cond)
    if fake is not None:
        delta = delta + (1 - share) * (fake - cond)
    return (predicted - delta).detach()


def mixed_target(clean: Tensor, judged: Tensor, t_N: Tensor, s_N: Tensor) -> Tensor:
    """(x_0 + lambda x_self) / (1 + lambda), eq. 18, in a form that is finite at t = 1.

    >>> import torch
    >>> mixed_target(torch.ones(1, 1), 3 * torch.ones(1, 1), torch.tensor([1.0]), torch.tensor([0.5]))
    tensor([[3.]])
    """
    near, far = (1 - t_N) * (1 - s_N), t_N - s_N
    whole = near + far  # 0 at t = s = 1, where the data term alone is right
    data = over_rows((near / whole.where(whole > 0, whole + 1)).where(whole > 0, whole + 1), clean)
    return data * clean + (1 - data) * judged


def renormalised_target(clean: Tensor, judged: Tensor, t_N: Tensor, s_N: Tensor) -> Tensor:
    """The mixed target at the norm of the picture x_0, eq. 19: a strong judgement cannot raise the contrast."""
    return with_norm_of(mixed_target(clean, judged, t_N, s_N), clean)


def self_evaluation(
    predicted: Tensor,
    clean: Tensor,
    judged: Tensor,
    t_N: Tensor,
    s_N: Tensor,
    target: Target = "renormalised",
    limit: float | None = None,
) -> Tensor:
    """The loss of each picture, before the weight 1/t^2; where s = t it is flow matching, whatever ``judged`` is.

    Args:
        predicted: [N, *] with gradient. clean: [N, *] the pictures. judged: from ``judged_picture``.
        target: "renormalised", ||x - x_renorm||^2 (eq. 20), or "mixed", ||x - x_0||^2 + lambda ||x - x_self||^2 (eq. 16).
        limit: of lambda in "mixed", which is infinite at t = 1; None: none.

    Returns:
        [N].
    """
    if target == "renormalised":
        return squared_norm(predicted - renormalised_target(clean, judged, t_N, s_N).detach())
    weight = self_weight(t_N, s_N)
    if limit is not None:
        weight = weight.clamp(max=limit)
    return squared_norm(predicted - clean) + weight * squared_norm(predicted - judged)


def time_weight(t_N: Tensor) -> Tensor:
    """1/t^2, eq. 21: with it the error of the clean picture is the error of the velocity."""
    return t_N.pow(-2)
