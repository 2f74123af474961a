"""What a pair says beside its order: how much better the chosen answer is, and that two answers are equally good.

With h the difference of the implicit rewards' log-ratios and d = beta h - offset m: the data's margin m moves the point at which a pair
counts as learnt (ODPO, 2402.10571, eq. 7, with the identity for its scaling of scores). Ties (2409.17431): by Rao and Kupper a win has
probability sigma(d - log nu) and a tie (nu^2 - 1) sigma(d - log nu) sigma(-d - log nu); by Davidson a win has
1 / (1 + exp(-d) + 2 nu exp(-d / 2)) and a tie 2 nu exp(-d / 2) times as much. Without ties a win has sigma(d), DPO. Shapes: B pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from counterpoint.errors import CounterpointError

Ties = Literal["none", "rao_kupper", "davidson"]


@dataclass
class Graded:
    """Settings of what is learnt of a pair beside its order, by loss=sigmoid.

    Attributes:
        offset: weight of the data's margins; 0 passes them over.
        ties: the model of ties, where the data keep them (data option ties=keep).
        tie_rate: nu; None is the value at which equally good answers tie as often as not: 3 by Rao and Kupper, 1 by Davidson.
    """

    offset: float = 0.0
    ties: Ties = "none"
    tie_rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse a rate at which there are no ties, or that nothing reads."""
        if self.tie_rate is None:
            return
        if self.ties == "none":
            raise CounterpointError(
                f"graded.tie_rate={self.tie_rate}, and graded.ties=none does not read it; give graded.ties=rao_kupper or davidson"
            )
        least = 1.0 if self.ties == "rao_kupper" else 0.0
        if not least < self.tie_rate < math.inf:
            raise CounterpointError(
                f"graded.tie_rate={self.tie_rate}: expected a number above {least:g} for graded.ties={self.ties}"
            )

    @property
    def reads(self) -> bool:
        """Whether anything beside the order is learnt."""
        return self.ties != "none" or self.offset != 0.0

    def losses(self, logit_B: Tensor, margin_B: Tensor, tie_B: Tensor) -> Tensor:
        """[B], the loss of every pair; ``graded_losses`` with these settings."""
        usual = {"none": 1.0, "rao_kupper": 3.0, "davidson": 1.0}[self.ties]
        rate = usual if self.tie_rate is None else self.tie_rate
        return graded_losses(logit_B - self.offset * margin_B, tie_B, self.ties, rate)


def graded_losses(logit_B: Tensor, tie_B: Tensor, ties: Ties, tie_rate: float) -> Tensor:
    """Return [B], minus the log-probability of what each pair says: that the first answer is better, or that it is a tie.

    Args:
        logit_B: d, the difference of the answers' strengths.
        tie_B: bool, whether the pair is a tie.
        ties: "rao_kupper", "davidson", or "none", under which no pair may be a tie.
        tie_rate: nu.

    >>> round(float(graded_losses(torch.zeros(1), torch.tensor([True]), "davidson", 1.0)), 4)     # half of equal pairs tie
    0.6931
    """
    if ties == "none":
        if bool(tie_B.any()):
            raise CounterpointError(
                "the data hold ties, and without a model of ties there is nothing to learn from them; give "
                "graded.ties=rao_kupper or graded.ties=davidson, or leave them out (data option ties=drop)"
            )
        return -logsigmoid(logit_B)
    if ties == "rao_kupper":
        shift = math.log(tie_rate)
        win_B = logsigmoid(logit_B - shift)
        tied_B = win_B + logsigmoid(-logit_B - shift) + math.log(tie_rate**2 - 1.0)
    else:
        half_B = math.log(2.0 * tie_rate) - logit_B / 2
        win_B = -torch.stack([torch.zeros_like(logit_B), -logit_B, half_B]).logsumexp(0)
        tied_B = win_B + half_B
    return -torch.where(tie_B, tied_B, win_B)
