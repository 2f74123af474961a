"""Hindsight: what the model would have written, had it known how the user would answer (arXiv 2603.12273).

The same weights give an answer y to x another probability once the follow-up o stands in the prompt. The log-ratio is an advantage of
every token,

    A_i = sg[log pi(y_i | x, o, y_<i) - log pi(y_i | x, y_<i)],      L = - (1/B) sum_b (1/n_b) sum_i m_bi A_bi log pi(y_bi | x_b, y_b,<i)

(eq. 1 and 4), of which the expectation over y ~ pi is the gradient of sum_i KL(pi(.|x) || sg pi(.|x, o)) (eq. 2 and 3). B answers,
T tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.objectives.tokens import masked, sequence_mean

Center = Literal["none", "sequence"]


def without_first(mask_BT: Tensor, first: int) -> Tensor:
    """Return the mask without each answer's first tokens, which carry what the hindsight prompt's wording does to openings.

    Where no answer is longer than that (the padded width is at most ``first``), the mask stays as it is.

    >>> without_first(torch.ones(1, 3), 2).tolist(), without_first(torch.ones(1, 2), 2).tolist()
    ([[0.0, 0.0, 1.0]], [[1.0, 1.0]])
    """
    if not first or mask_BT.shape[1] <= first:
        return mask_BT
    counted = torch.arange(mask_BT.shape[1], device=mask_BT.device) >= first
    return mask_BT * counted


def advantages(logp_BT: Tensor, hindsight_BT: Tensor, mask_BT: Tensor, center: Center = "none") -> Tensor:
    """Return [B, T], A of every token (eq. 1), 0 outside the mask; a constant.

    Args:
        logp_BT: log-probabilities of the answers after the plain prompt.
        hindsight_BT: the same after the prompt that holds the follow-up.
        mask_BT: tokens that count.
        center: "sequence" subtracts each answer's mean, as the authors' online program does: an answer's advantages then sum
            to 0, so that its being good or bad as a whole is lost, and an answer of one token learns nothing.

    Raises:
        CounterpointError: another way to centre.

    >>> advantages(torch.tensor([[-1.0, -1.0]]), torch.tensor([[-3.0, -1.0]]), torch.ones(1, 2)).tolist()
    [[-2.0, 0.0]]
    """
    advantage_BT = masked(hindsight_BT - logp_BT, mask_BT).detach()
    if center == "none":
        return advantage_BT
    if center != "sequence":
        raise CounterpointError(f"center={center!r}; expected 'none' or 'sequence'")
    return masked(advantage_BT - sequence_mean(advantage_BT, mask_BT)[:, None], mask_BT)


def token_losses(
    logp_BT: Tensor,
    advantage_BT: Tensor,
    mask_BT: Tensor,
    *,
    old_BT: Tensor | None = None,
    low: float = 0.2,
    high: float = 0.2,
) -> Tensor:
    """Return [B, T], -A log pi, or with old log-probabilities the clipped -min(r A, clip(r) A), r = pi / pi_old.

    Both have the gradient -A grad log pi where pi is still pi_old. Values have no meaning of their own.

    >>> logp = torch.tensor([[-1.0]], requires_grad=True)
    >>> token_losses(logp, torch.tensor([[-2.0]]), torch.ones(1, 1)).sum().backward()
    >>> logp.grad.tolist()                          # pushed down: in hindsight the token is less likely
    [[2.0]]
    """
    advantage_BT = advantage_BT.detach()
    if old_BT is None:
        return masked(-advantage_BT * masked(logp_BT, mask_BT), mask_BT)
    ratio_BT = masked(logp_BT - old_BT.detach(), mask_BT).exp()
    return -torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1.0 - low, 1.0 + high) * advantage_BT)
