"""Value distributions on fixed atoms (C51, arXiv 1707.06887, algorithm 1), with a bonus added to the return.

``Tz = clamp(R + bonus + discount^n (1 - done) z)`` is spread over the two nearest atoms; the loss is the cross-entropy to the
taken action's distribution. Legend: B items, A actions, P atoms.
"""

from __future__ import annotations

import torch
from torch import Tensor


def project(target_BP: Tensor, shifted_BP: Tensor, atoms_P: Tensor) -> Tensor:
    """Probabilities [B, P] on ``atoms_P`` of a distribution that puts ``target_BP`` at ``shifted_BP``.

    >>> atoms = torch.tensor([0.0, 1.0])
    >>> project(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.25, 9.0]]), atoms)
    tensor([[0.7500, 0.2500]])
    """
    gap = atoms_P[1] - atoms_P[0]
    z = shifted_BP.clamp(atoms_P[0], atoms_P[-1])
    kernel = (1 - (z[:, :, None] - atoms_P).abs() / gap).clamp(0, 1)  # from atom i of the target to atom j
    return (target_BP[:, :, None] * kernel).sum(1)


def taken(per_action: Tensor, action_B: Tensor) -> Tensor:
    """The rows [B, P] of the actions [B] in [B, A, P]."""
    return per_action[torch.arange(len(action_B), device=action_B.device), action_B]


def categorical_target(
    next_BAP: Tensor,
    online_next_BAP: Tensor | None,
    return_B: Tensor,
    done_B: Tensor,
    atoms_P: Tensor,
    discount: float,
) -> Tensor:
    """[B, P] the projected target.

    Args:
        next_BAP: the target network's probabilities at the state n steps on.
        online_next_BAP: the trained network's there, which then choose the action (double estimation); None lets the
            target network choose.
        return_B: n-step return, with its bonus if there is one.
        done_B: whether the episode ended within the n steps.
        discount: discount^n.
    """
    chooser = next_BAP if online_next_BAP is None else online_next_BAP
    best = (chooser * atoms_P).sum(-1).argmax(-1)
    shifted = return_B[:, None] + discount * (~done_B).to(return_B.dtype)[:, None] * atoms_P
    return project(taken(next_BAP, best), shifted, atoms_P)


def categorical_loss(logits_BAP: Tensor, action_B: Tensor, target_BP: Tensor) -> Tensor:
    """Cross-entropy [B] of the taken action's distribution to the (constant) target."""
    return -(target_BP.detach() * taken(logits_BAP.log_softmax(-1), action_B)).sum(-1)


@torch.no_grad()
def priority(logits_BAP: Tensor, action_B: Tensor, target_BP: Tensor) -> Tensor:
    """KL [B] from the target (its probabilities at least ``floor``) to the taken action's distribution, in [floor, 1/floor]."""
    floor = 1e-6
    clamped_BP = target_BP.clamp(floor, 1)
    divergence = (clamped_BP * (clamped_BP.log() - taken(logits_BAP.log_softmax(-1), action_B))).sum(-1)
    return divergence.clamp(floor, 1 / floor)
