"""KTO: single answers marked desirable or not, valued against a reference point (2402.01306, eqs. 7-8).

Loss_i = weight_i (1 - sigmoid(+-beta (u_i - z))), + for desirable answers. z estimates KL(policy || reference) from
answers set against the wrong prompt, and is a constant: no gradient flows through it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def reference_point(mismatched_ratio_N: Tensor) -> Tensor:
    """Return the scalar z = max(0, mean log-ratio of mismatched answers), detached.

    Args:
        mismatched_ratio_N: log pi - log ref of row i-1's answer behind row i's prompt, for the *global* batch.

    Raises:
        CounterpointError: a batch of one, which would be mismatched with itself.
    """
    if mismatched_ratio_N.numel() < 2:
        raise CounterpointError(
            "KTO's reference point pairs each prompt with another row's answer; use a batch size of at least 2"
        )
    return mismatched_ratio_N.detach().mean().clamp(min=0)


def kto(
    ratio_N: Tensor,
    desirable_N: Tensor,
    point: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Return [N], the weighted loss of each answer.

    Args:
        ratio_N: u = log pi(y|x) - log ref(y|x); carries the gradient.
        desirable_N: boolean, whether the answer is a good one.
        point: z of ``reference_point``.
        beta: how fast value saturates.
        desirable_weight: lambda_D; choose lambda_D n_D / (lambda_U n_U) in [1, 4/3].
        undesirable_weight: lambda_U.

    >>> float(kto(torch.zeros(1), torch.tensor([True]), torch.tensor(0.0)))
    0.5
    """
    away = beta * (ratio_N - point.detach())
    good = desirable_N.bool()
    value = torch.where(good, away, -away)
    weight = torch.where(good, ratio_N.new_tensor(desirable_weight), ratio_N.new_tensor(undesirable_weight))
    return weight * torch.sigmoid(-value)
