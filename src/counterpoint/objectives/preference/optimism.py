"""Optimism in preference learning: of all rewards that explain the pairs, the one whose best answer is best (SELM, 2405.19332, eq. 4.2).

With r = beta (log pi - log ref) as the reward, the bonus alpha max_pi F(pi; r) has a closed form, and as a loss all that is left of it is
alpha beta E_{y ~ ref}[log pi(y)]: the likelihood of the reference's own answers goes down. B answers, V of them in a finite set.
"""

from __future__ import annotations

from torch import Tensor


def optimism(logp_B: Tensor, reference_B: Tensor, alpha: float, beta: float) -> Tensor:
    """Return [B], alpha beta (log pi(y) - log ref(y)) of an answer y of the reference to each prompt; 0 at the reference.

    Linear, and unbounded below: what holds it are the pairs' loss beside it, few steps and a small alpha beta.

    Args:
        logp_B: log pi of whole answers; carries the gradient. reference_B: under the reference, a constant.

    >>> import torch
    >>> optimism(torch.tensor([-3.0]), torch.tensor([-1.0]), alpha=0.5, beta=0.1).tolist()
    [-0.10000000149011612]
    """
    return alpha * beta * (logp_B - reference_B.detach())


def expected_optimism(logp_V: Tensor, reference_V: Tensor, alpha: float, beta: float = 1.0) -> Tensor:
    """Return [...], alpha beta sum_y ref(y) log pi(y): the expectation itself, where the answers can be counted.

    Args:
        logp_V: log pi of all answers, on the last axis; carries the gradient. reference_V: log ref of them, a constant.

    >>> import torch
    >>> even = torch.full((2,), 0.5).log()
    >>> round(float(expected_optimism(even, even, alpha=1.0)), 4)
    -0.6931
    """
    return alpha * beta * (reference_V.detach().exp() * logp_V).sum(-1)
