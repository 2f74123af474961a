"""Smoothness where a small change of the input hurts most: scale-invariant fine-tuning (SiFT, arXiv 2006.03654, section 4).

    n = normalised embeddings,  delta = delta_0 + eta g / max|g|,  g = d D(f(n + delta_0), f(n)) / d delta_0
    L_adv = - sum p_clean log p_noisy - sum p_noisy log p_clean,    each p that weighs held constant

Embeddings of words differ in norm, so one size of noise would be too much for some and nothing for others: they are
normalised first. Shapes: N examples, T tokens, H features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest

Divergence = Literal["symmetric-kl", "kl", "mse"]


def normalised(embeddings: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Mean 0 and variance 1 over the last axis, in float32 or wider, without scale and shift to learn.

    >>> normalised(torch.tensor([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    return torch.nn.functional.layer_norm(wide, wide.shape[-1:], eps=epsilon)


def first_noise(draws: Tensor, std: float = 1e-2) -> Tensor:
    """delta_0: normal draws times ``std``, cut at two standard deviations.

    >>> first_noise(torch.tensor([0.5, -9.0]), 0.25).tolist()
    [0.125, -0.5]
    """
    return (std * draws).clamp(-2 * std, 2 * std)


def symmetric_cross_entropy(one: Tensor, other: Tensor) -> Tensor:
    """[N], ``-sum p_other log p_one - sum p_one log p_other`` with the weighing probabilities held constant.

    Its value at equal arguments is twice the entropy, its gradient there 0: it is the symmetric KL up to constants, and both
    sides are pulled.

    >>> z = torch.zeros(1, 2)
    >>> round(float(symmetric_cross_entropy(z, z)), 4)      # 2 log 2
    1.3863
    """
    log_one, log_other = torch.log_softmax(one, -1), torch.log_softmax(other, -1)
    return -(log_other.exp().detach() * log_one).sum(-1) - (log_one.exp().detach() * log_other).sum(-1)


def departure(perturbed: Tensor, clean: Tensor, kind: Divergence = "symmetric-kl") -> Tensor:
    """[N], how far the perturbed answer is from the clean one, a constant: what the inner step climbs."""
    clean = clean.detach()
    if kind == "symmetric-kl":
        return symmetric_cross_entropy(perturbed, clean)
    if kind == "kl":
        log_p, log_q = torch.log_softmax(clean, -1), torch.log_softmax(perturbed, -1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)
    if kind == "mse":
        return (perturbed - clean).square().mean(-1)
    raise CounterpointError(
        f"there is no inner divergence {kind!r}; {nearest(str(kind), ['symmetric-kl', 'kl', 'mse'])}"
    )


def climb(delta: Tensor, gradient: Tensor, step: float = 1e-4) -> Tensor:
    """delta_1: one step along the gradient, every token's largest component scaled to 1.

    >>> climb(torch.zeros(2), torch.tensor([2.0, -4.0]), 0.5)
    tensor([ 0.2500, -0.5000])
    """
    return (delta + step * gradient / (1e-6 + gradient.abs().amax(-1, keepdim=True))).detach()


def disturbed(embeddings: Tensor, noise: Tensor) -> Tensor:
    """[N, T, H] embeddings, held constant, whose normalised form is ``normalised(embeddings) + noise``.

    A network that begins with a layer normalisation cannot tell this from n + noise, which is what the authors' code feeds it;
    any other network keeps the scale of embeddings it was made for.

    >>> disturbed(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), torch.tensor([[0.1, 0.0, 0.0, 0.0]]))
    tensor([[1.2236, 3.0000, 5.0000, 7.0000]])
    """
    epsilon = 1e-7
    wide = embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32))
    spread = (wide.var(-1, unbiased=False, keepdim=True) + epsilon).sqrt()
    return wide + spread * noise


def worst_noise(
    answer: Callable[[Tensor], Tensor],
    delta: Tensor,
    clean_logits: Tensor,
    *,
    step: float = 1e-4,
    kind: Divergence = "symmetric-kl",
) -> Tensor:
    """Where the noise goes from ``delta`` to change the answer most: one step, on a *sum* over examples.

    Args:
        answer: noise [N, T, H] -> logits [N, C]; its parameters get no gradient from this.
        delta: [N, T, H], where to start. clean_logits: [N, C], the answer without noise.

    Returns:
        [N, T, H], a constant.
    """
    start = delta.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(departure(answer(start), clean_logits, kind).sum(), start)
    return climb(start, gradient, step)
