"""One set of logits against another: the scores that contrastive decoding picks the next token by.

With z of the better pass, w of the poorer one and V = {i : z_i >= log alpha + max z}, the tokens that are plausible:

    (1 + beta) z_i - beta w_i      for i in V, else -inf    (SCMoE, arXiv 2405.14507, eq. 5-6)
    log p_i - log q_i              for i in V, else -inf    (contrastive decoding, 2210.15097; DoLa, 2309.03883)

The first is the reasoning form of contrastive decoding, too (2309.09117). B rows, V vocabulary, K candidate layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError

Form = Literal["extrapolate", "difference"]


@dataclass(frozen=True)
class Contrast:
    """How two sets of logits become scores; call it with both.

    Attributes:
        beta: how far beyond the strong logits; 0 is the strong pass alone, inside the mask. Not used by "difference".
        alpha: a token is plausible when its strong probability is at least this share of the largest; 1 is greedy.
        form: "extrapolate", (1 + beta) z - beta w, or "difference", log p - log q.
        strong_temperature, weak_temperature: divide the logits before mask and contrast.

    >>> strong, weak = torch.tensor([[2.0, 1.9, -3.0]]), torch.tensor([[2.0, 0.0, -9.0]])
    >>> Contrast(beta=0.5, alpha=0.1)(strong, weak)
    tensor([[2.0000, 2.8500,   -inf]])
    """

    beta: float = 0.5
    alpha: float = 0.1
    form: Form = "extrapolate"
    strong_temperature: float = 1.0
    weak_temperature: float = 1.0

    def __post_init__(self) -> None:
        temperatures = (self.strong_temperature, self.weak_temperature)
        wrong = not 0 < self.alpha <= 1 or not (self.beta >= 0 and math.isfinite(self.beta))
        if wrong or any(not (each > 0 and math.isfinite(each)) for each in temperatures):
            raise CounterpointError(
                f"{self}: expected 0 < alpha <= 1, beta from 0 on and temperatures above 0, such as "
                "Contrast(beta=0.5, alpha=0.1)"
            )
        if self.form not in ("extrapolate", "difference"):
            raise CounterpointError(f"form={self.form!r}; expected 'extrapolate' or 'difference'")

    def __call__(self, strong: Tensor, weak: Tensor) -> Tensor:
        """Scores [..., V] of the next token, -inf where the strong pass holds it for implausible.

        Args:
            strong, weak: [..., V] logits after the same tokens. Log-probabilities do as well: a constant added to either
                changes neither the mask nor the order.

        Raises:
            CounterpointError: the two are of different shapes.
        """
        if strong.shape != weak.shape:
            raise CounterpointError(
                f"logits of shapes {tuple(strong.shape)} and {tuple(weak.shape)}; expected one vocabulary for both"
            )
        strong, weak = strong / self.strong_temperature, weak / self.weak_temperature
        # The mask comes last, so that nothing is ever -inf less -inf; where only the weak pass rules a token out, its
        # logit is as low as stays finite after the scaling.
        lowest = torch.finfo(weak.dtype).min / (8 * (1 + self.beta))
        if self.form == "extrapolate":
            scores = (1 + self.beta) * strong - self.beta * weak.clamp_min(lowest)
        else:
            scores = strong.log_softmax(-1) - weak.log_softmax(-1).clamp_min(lowest)
        return scores.masked_fill(~plausible(strong, self.alpha), -torch.inf)


def plausible(strong: Tensor, alpha: float) -> Tensor:
    """Where a token's probability is at least ``alpha`` times the largest; cut on logits, never empty. [..., V] bool.

    >>> plausible(torch.tensor([[3.0, 1.0, -1.0]]), 0.1).tolist()
    [[True, True, False]]
    """
    return (strong >= math.log(alpha) + strong.amax(-1, keepdim=True)) & (strong > -torch.inf)


def divergent_layer(last: Tensor, early: Tensor) -> Tensor:
    """The layer whose prediction is furthest from the last one's, by Jensen-Shannon divergence: [B] (DoLa, eq. 3).

    Args:
        last: [B, V] logits of the last layer. early: [K, B, V] logits of the candidates.

    >>> last = torch.tensor([[4.0, 0.0, 0.0]])
    >>> divergent_layer(last, torch.stack([last + 1, last.flip(1)])).tolist()
    [1]
    """
    p, q = last.log_softmax(-1), early.log_softmax(-1)
    middle = torch.logaddexp(p, q) - math.log(2)
    both = torch.stack([p.expand_as(q), q])  # 0 log 0 is 0, for tokens that a layer rules out
    terms = torch.where(both == -torch.inf, 0.0, both.exp() * (both - middle))
    return terms.sum((0, -1)).argmax(0)
