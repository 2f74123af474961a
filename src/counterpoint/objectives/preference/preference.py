r"""Preference losses on pairs: one family, one value per pair, from sequence log-probabilities.

With u_w, u_l the log-ratios log pi(y) - log ref(y) of chosen and rejected answer and h = f(u_w) - f(u_l) for a link f
(identity for reverse KL), DPO (2305.18290, eq. 7) is -log sigmoid(beta h). The other members change the link or the
outer function. A reward model never appears: beta u is the reward, up to a term of the prompt that pairs cancel.

Two sentences that make it work: log-probabilities are *sums* over completion tokens unless a loss names the mean; and
every logistic is a softplus, because |beta h| of 100 is ordinary. Shapes: B pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.tokens import log1mexp


@dataclass(frozen=True)
class Pair:
    """Log-probabilities of B preference pairs.

    Attributes:
        chosen, rejected: [B], log pi(y|x) summed over completion tokens; carries the gradient.
        reference_chosen, reference_rejected: [B], the same under the frozen reference; None for reference-free losses.
        chosen_length, rejected_length: [B], completion lengths; needed by length-normalised losses.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor | None = None
    reference_rejected: Tensor | None = None
    chosen_length: Tensor | None = None
    rejected_length: Tensor | None = None

    def ratios(self) -> tuple[Tensor, Tensor]:
        """Return (u_w, u_l), the log-ratios to the reference."""
        if self.reference_chosen is None or self.reference_rejected is None:
            raise CounterpointError(
                "this preference loss compares with a reference model, and the pair has no reference log-probabilities; "
                "give reference_chosen and reference_rejected, or choose one of: "
                + ", ".join(sorted(REFERENCE_FREE))
            )
        return self.chosen - self.reference_chosen.detach(), self.rejected - self.reference_rejected.detach()

    def lengths(self) -> tuple[Tensor, Tensor]:
        """Return (n_w, n_l), at least 1 each."""
        if self.chosen_length is None or self.rejected_length is None:
            raise CounterpointError(
                "this preference loss divides by completion lengths; give chosen_length and rejected_length"
            )
        return self.chosen_length.clamp(min=1), self.rejected_length.clamp(min=1)

    def means(self) -> tuple[Tensor, Tensor]:
        """Return the mean token log-probabilities of chosen and rejected."""
        n_w, n_l = self.lengths()
        return self.chosen / n_w, self.rejected / n_l


@dataclass(frozen=True)
class Shape:
    """The knobs a loss may read.

    Attributes:
        beta: strength of the tie to the reference (the inverse temperature of the implicit reward).
        smoothing: epsilon, the believed rate of flipped labels; a number or one per pair [B].
        margin: target margin (gamma of SimPO, delta of SLiC-HF).
        link: how a log-ratio becomes a score, one of ``LINKS``.
        link_alpha: alpha of the ``alpha`` link.
        shift: delta of BCO, the mean implicit reward of all answers so far, a constant.
    """

    beta: float = 0.1
    smoothing: float | Tensor = 0.0
    margin: float = 0.0
    link: str = "reverse_kl"
    link_alpha: float = 0.5
    shift: float | Tensor = 0.0


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) at every x; torch's own turns linear at 20, which a float64 gradient notices."""
    return -logsigmoid(-x)


def _exponent(u: Tensor) -> Tensor:
    cap = {torch.float16: 11.0, torch.float64: 700.0}.get(u.dtype, 80.0)
    return u.clamp(max=cap)


def _alpha_link(u: Tensor, alpha: float) -> Tensor:
    return u if alpha == 1.0 else torch.expm1(_exponent((alpha - 1.0) * u)) / (alpha - 1.0)


LINKS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "reverse_kl": lambda u, _: u,
    "forward_kl": lambda u, _: -torch.expm1(_exponent(-u)),
    "js": lambda u, _: math.log(2.0) + logsigmoid(u),
    "alpha": _alpha_link,
}
"""f'(exp(u)) of the divergence that ties policy to reference (f-DPO, 2309.16240); exponents are capped, not overflowed."""


def _h(pair: Pair, shape: Shape) -> Tensor:
    if shape.link not in LINKS:
        raise CounterpointError(f"link {shape.link!r} is unknown; {nearest(shape.link, LINKS)}")
    u_w, u_l = pair.ratios()
    link = LINKS[shape.link]
    return link(u_w, shape.link_alpha) - link(u_l, shape.link_alpha)


def _check_smoothing(value: float | Tensor, low: float, high: float, why: str) -> None:
    inside = (
        bool(((value >= low) & (value < high)).all()) if isinstance(value, Tensor) else low <= value < high
    )
    if not inside:
        raise CounterpointError(f"smoothing={value}: {why}")


def _smoothed(logit: Tensor, smoothing: float | Tensor) -> Tensor:
    return (1.0 - smoothing) * _softplus(-logit) + smoothing * _softplus(logit)


def _sigmoid(pair: Pair, shape: Shape) -> Tensor:
    return _softplus(-shape.beta * _h(pair, shape))


def _cdpo(pair: Pair, shape: Shape) -> Tensor:
    return _smoothed(shape.beta * _h(pair, shape), shape.smoothing)


def _robust(pair: Pair, shape: Shape) -> Tensor:
    _check_smoothing(
        shape.smoothing, 0.0, 0.5, "the robust loss divides by 1 - 2 smoothing; give a flip rate in [0, 0.5)"
    )
    logit, e = shape.beta * _h(pair, shape), shape.smoothing
    return ((1.0 - e) * _softplus(-logit) - e * _softplus(logit)) / (1.0 - 2.0 * e)


def _exo_pair(pair: Pair, shape: Shape) -> Tensor:
    _check_smoothing(
        shape.smoothing,
        1e-12,
        1.0,
        "exo_pair is a reverse KL to a smoothed label; give a smoothing in (0, 1)",
    )
    logit = shape.beta * _h(pair, shape)
    e = torch.as_tensor(shape.smoothing, dtype=logit.dtype, device=logit.device)
    return torch.sigmoid(logit) * (logsigmoid(logit) - torch.log1p(-e)) + torch.sigmoid(-logit) * (
        logsigmoid(-logit) - torch.log(e)
    )


def _hinge(pair: Pair, shape: Shape) -> Tensor:
    return torch.relu(1.0 - shape.beta * _h(pair, shape))


def _ipo(pair: Pair, shape: Shape) -> Tensor:
    (u_w, u_l), (n_w, n_l) = pair.ratios(), pair.lengths()
    return (u_w / n_w - u_l / n_l - 1.0 / (2.0 * shape.beta)).square()


def _ipo_sum(pair: Pair, shape: Shape) -> Tensor:
    u_w, u_l = pair.ratios()
    return (u_w - u_l - 1.0 / (2.0 * shape.beta)).square()


def _sigmoid_norm(pair: Pair, shape: Shape) -> Tensor:
    (u_w, u_l), (n_w, n_l) = pair.ratios(), pair.lengths()
    return _softplus(-shape.beta * (u_w / n_w - u_l / n_l))


def _bco_pair(pair: Pair, shape: Shape) -> Tensor:
    u_w, u_l = pair.ratios()
    return _softplus(shape.shift - shape.beta * u_w) + _softplus(shape.beta * u_l - shape.shift)


def _nca_pair(pair: Pair, shape: Shape) -> Tensor:
    u_w, u_l = pair.ratios()
    return (
        _softplus(-shape.beta * u_w) + 0.5 * _softplus(shape.beta * u_w) + 0.5 * _softplus(shape.beta * u_l)
    )


def _apo_zero(pair: Pair, shape: Shape) -> Tensor:
    u_w, u_l = pair.ratios()
    return torch.sigmoid(-shape.beta * u_w) + torch.sigmoid(shape.beta * u_l)


def _apo_down(pair: Pair, shape: Shape) -> Tensor:
    u_w, _ = pair.ratios()
    return torch.sigmoid(shape.beta * u_w) + torch.sigmoid(-shape.beta * _h(pair, shape))


def _sppo_hard(pair: Pair, shape: Shape) -> Tensor:
    u_w, u_l = pair.ratios()
    target = 1.0 / (2.0 * shape.beta)
    return (u_w - target).square() + (u_l + target).square()


def _reference_free(pair: Pair, shape: Shape) -> Tensor:
    return _smoothed(shape.beta * (pair.chosen - pair.rejected), shape.smoothing)


def _slic(pair: Pair, shape: Shape) -> Tensor:
    return torch.relu(shape.margin - pair.chosen + pair.rejected)


def _simpo(pair: Pair, shape: Shape) -> Tensor:
    mean_w, mean_l = pair.means()
    return _smoothed(shape.beta * (mean_w - mean_l) - shape.margin, shape.smoothing)


def log_odds(mean_logp: Tensor) -> Tensor:
    """Return log p/(1-p) for a mean token log-probability log p (ORPO, 2403.07691, eq. 4)."""
    below = mean_logp.clamp(
        max=-torch.finfo(mean_logp.dtype).eps
    )  # p = 1 has infinite odds: keep inf - inf out of h
    return below - log1mexp(below)


def _odds_ratio(pair: Pair, shape: Shape) -> Tensor:
    mean_w, mean_l = pair.means()
    return shape.beta * _softplus(log_odds(mean_l) - log_odds(mean_w))


PAIRWISE: dict[str, Callable[[Pair, Shape], Tensor]] = {
    "sigmoid": _sigmoid,  # DPO 2305.18290 eq. 7
    "cdpo": _cdpo,  # labels flipped with probability eps; with eps = 1 - C, CREAM 2410.12735
    "robust": _robust,  # 2403.00409 eq. 11: unbiased under flips, can be negative
    "exo_pair": _exo_pair,  # 2402.00856: reverse KL to the smoothed label
    "hinge": _hinge,  # SLiC's link on log-ratios
    "ipo": _ipo,  # 2310.12036 eq. 17, length-normalised as in the authors' runs
    "ipo_sum": _ipo_sum,  # the same with sums, as printed
    "sigmoid_norm": _sigmoid_norm,
    "bco_pair": _bco_pair,  # 2404.04656; its delta is ``shift``
    "nca_pair": _nca_pair,  # 2402.05369
    "apo_zero": _apo_zero,  # 2408.06266
    "apo_down": _apo_down,
    "sppo_hard": _sppo_hard,  # 2405.00675
    "reference_free": _reference_free,
    "slic": _slic,  # SLiC-HF 2305.10425; add a likelihood term beside it
    "simpo": _simpo,  # 2405.14734 eq. 6
    "odds_ratio": _odds_ratio,  # ORPO's second term (2403.07691 eq. 7); add the likelihood of chosen beside it
}
REFERENCE_FREE = frozenset({"reference_free", "slic", "simpo", "odds_ratio"})


def pairwise(
    name: str,
    pair: Pair,
    *,
    beta: float = 0.1,
    smoothing: float | Tensor = 0.0,
    margin: float = 0.0,
    link: str = "reverse_kl",
    link_alpha: float = 0.5,
    shift: float | Tensor = 0.0,
) -> Tensor:
    """Return [B], the named preference loss of each pair (``PAIRWISE`` lists the names; ``Shape`` explains the knobs).

    ``smoothing`` is read by ``cdpo``, ``robust``, ``exo_pair``, ``reference_free`` and ``simpo``; ``margin`` by
    ``simpo`` and ``slic``; ``link`` by the losses written with h: ``sigmoid``, ``cdpo``, ``robust``, ``exo_pair``,
    ``hinge``, ``apo_down``; ``shift`` by ``bco_pair``. A knob a loss does not read must keep its default.

    Raises:
        CounterpointError: an unknown loss or link, a missing reference or length, a knob the loss does not read,
            a smoothing outside the loss's range.

    >>> same = Pair(*torch.tensor([[-3.0], [-5.0], [-3.0], [-5.0]]))
    >>> round(float(pairwise("sigmoid", same)), 4)              # at the reference every DPO loss is log 2
    0.6931
    """
    if name not in PAIRWISE:
        raise CounterpointError(f"there is no preference loss {name!r}; {nearest(name, PAIRWISE)}")
    smooths, margins = {"cdpo", "robust", "exo_pair", "reference_free", "simpo"}, {"simpo", "slic"}
    links = {"sigmoid", "cdpo", "robust", "exo_pair", "hinge", "apo_down"}
    if name not in smooths and (isinstance(smoothing, Tensor) or smoothing != 0.0):
        raise CounterpointError(
            f"loss {name!r} has no label smoothing; use one of {', '.join(sorted(smooths))} (sigmoid smoothed is cdpo)"
        )
    if name not in margins and margin != 0.0:
        raise CounterpointError(f"loss {name!r} has no margin; use one of {', '.join(sorted(margins))}")
    if name not in links and link != "reverse_kl":
        raise CounterpointError(f"loss {name!r} takes no link; use one of {', '.join(sorted(links))}")
    if name != "bco_pair" and (isinstance(shift, Tensor) or shift != 0.0):
        raise CounterpointError(f"loss {name!r} has no shift; bco_pair has")
    shift = shift.detach() if isinstance(shift, Tensor) else shift
    return PAIRWISE[name](pair, Shape(beta, smoothing, margin, link, link_alpha, shift))


def preference_logit(pair: Pair, *, beta: float, link: str = "reverse_kl") -> Tensor:
    """Return [B], beta h: what the logistic losses are a function of; above 0 the policy prefers the chosen answer more than the
    reference does.

    >>> same = Pair(*torch.tensor([[-3.0], [-5.0], [-3.0], [-5.0]]))
    >>> preference_logit(same, beta=0.1).tolist()
    [0.0]
    """
    return beta * _h(pair, Shape(beta=beta, link=link))


def reward_statistics(pair: Pair, beta: float) -> dict[str, Tensor]:
    """Return detached [B] statistics: implicit rewards, their margin, and accuracy (a tie counts as wrong)."""
    u_w, u_l = (pair.chosen, pair.rejected) if pair.reference_chosen is None else pair.ratios()
    chosen, rejected = (beta * u_w).detach(), (beta * u_l).detach()
    return {
        "reward_chosen": chosen,
        "reward_rejected": rejected,
        "reward_margin": chosen - rejected,
        "reward_accuracy": (chosen > rejected).to(chosen.dtype),
        "logp_chosen": pair.chosen.detach(),
        "logp_rejected": pair.rejected.detach(),
    }
