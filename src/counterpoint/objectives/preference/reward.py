"""A reward model's loss on pairs: Bradley-Terry (InstructGPT, 2203.02155, eq. 1), with a margin and a centre where wanted.

With rewards r_w, r_l of the chosen and the rejected answer: -log sigmoid(r_w - r_l - m). The margin m, how much better an answer is,
is Llama 2's (2307.09288, eq. 2). Only differences of rewards are learnt; (r_w + r_l)^2 (2312.09244, section 4) keeps them around 0.
Shapes: B pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(chosen_B: Tensor, rejected_B: Tensor, margin_B: Tensor | None = None) -> Tensor:
    """Return [B], -log sigmoid(r_w - r_l - m).

    Args:
        chosen_B, rejected_B: rewards of the better and the worse answers.
        margin_B: how much better each is; none is 0.

    >>> bradley_terry(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([2.0])).item()     # log 2
    0.6931471824645996
    """
    difference_B = chosen_B - rejected_B
    return -logsigmoid(difference_B if margin_B is None else difference_B - margin_B)


def centre(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """Return [B], (r_w + r_l)^2: 0 where the two rewards of a pair lie on either side of 0.

    >>> centre(torch.tensor([2.0]), torch.tensor([-1.0])).tolist()
    [1.0]
    """
    return (chosen_B + rejected_B).square()


def pair_statistics(chosen_B: Tensor, rejected_B: Tensor) -> dict[str, Tensor]:
    """Return detached [B] statistics: rewards, their difference, and whether the order is right (a tie counts as wrong)."""
    chosen, rejected = chosen_B.detach(), rejected_B.detach()
    return {
        "reward_chosen": chosen,
        "reward_rejected": rejected,
        "reward_margin": chosen - rejected,
        "reward_accuracy": (chosen > rejected).to(torch.float32),
    }
