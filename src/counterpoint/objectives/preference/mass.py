"""Where one gradient step moves probability: towards all bins of a target that are too low, or away from those that are too high.

A softmax policy p after one step on its logits z towards a target q (2404.14367, section 6). Forward KL(q || p), maximum likelihood:
dz = eta (q - p), whatever p is. Reverse KL(p || q), regularised reinforcement learning: dz = -eta p (log(p / q) - KL(p || q)), which
is scaled by p: it moves mass between bins that have some. V bins on the last axis.
"""

from __future__ import annotations

from torch import Tensor, zeros_like


def forward_kl_step(policy_V: Tensor, target_V: Tensor, rate: float = 1.0) -> Tensor:
    """Return p after a step of maximum likelihood: softmax(log p + rate (q - p)).

    >>> import torch
    >>> forward_kl_step(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])).mul(100).round().tolist()
    [73.0, 27.0]
    """
    return (policy_V.log() + rate * (target_V - policy_V)).softmax(-1)


def reverse_kl_step(policy_V: Tensor, target_V: Tensor, rate: float = 1.0) -> Tensor:
    """Return p after a step down the reverse KL; bins without mass stay without.

    >>> import torch
    >>> reverse_kl_step(torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])).mul(100).round().tolist()
    [75.0, 25.0]
    """
    ratio_V = (policy_V.log() - target_V.log()).where(policy_V > 0, zeros_like(policy_V))
    divergence = (policy_V * ratio_V).sum(-1, keepdim=True)
    return (policy_V.log() - rate * policy_V * (ratio_V - divergence)).softmax(-1)
