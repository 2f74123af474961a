"""Policy gradients in orthogonal pieces: ratio, per-token loss, masks; ``tokens.aggregate`` and ``advantage`` do the rest.

A variant of GRPO is a choice of each: ``VARIANTS`` names the published ones and ``policy_gradient`` composes them.
B responses, T tokens; log-probabilities are at the *sampling* temperature; advantages and old log-probabilities are
constants. Without old log-probabilities (one update per sample) old := stop_grad(logp): the ratio is 1 in value and its
gradient is grad logp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.preference.kl_estimate import kl_estimate
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import Aggregation, aggregate, masked, sequence_mean, sequence_sum

Level = Literal["token", "sequence", "sequence_sum"]
MOST_VALUES = 2**24
"""As many as ``torch.quantile`` takes."""


def ratio(
    logp_BT: Tensor,
    old_BT: Tensor | None,
    mask_BT: Tensor,
    level: Level = "token",
    *,
    flat_B: Tensor | None = None,
) -> Tensor:
    """Return the importance ratio [B, T] (``token``) or [B, 1].

    ``token``: exp(lp - old). ``sequence``: exp of the mean over counted tokens (GSPO 2507.18071). ``sequence_sum``: exp of
    the sum, the true ratio of sequence probabilities (RLOO). Rows that are ``flat_B`` have a loss that no longer moves with a large ratio:
    there it is kept finite, since a slope of 0 times an overflow is NaN.

    >>> float(ratio(torch.zeros(1, 2), torch.full((1, 2), -1.0), torch.ones(1, 2), "sequence")) == math.e
    False
    >>> round(float(ratio(torch.zeros(1, 2), torch.full((1, 2), -1.0), torch.ones(1, 2), "sequence")), 4)
    2.7183
    """
    old_BT = logp_BT if old_BT is None else old_BT
    drift_BT = masked(logp_BT - old_BT.detach(), mask_BT)
    if level == "sequence":
        drift_BT = sequence_mean(drift_BT, mask_BT)[:, None]
    elif level == "sequence_sum":
        drift_BT = sequence_sum(drift_BT, mask_BT)[:, None]
    elif level != "token":
        raise CounterpointError(f"ratio level {level!r}; expected 'token', 'sequence' or 'sequence_sum'")
    if flat_B is not None:
        most = 0.5 * math.log(torch.finfo(drift_BT.dtype).max)
        drift_BT = torch.where(flat_B[:, None], drift_BT.clamp(max=most), drift_BT)
    return drift_BT.exp()


def clipped(
    ratio_BT: Tensor, advantage_B: Tensor, low: float = 0.2, high: float = 0.2, delta: float | None = None
) -> Tensor:
    """Return -min(min(ratio, delta) A, clip(ratio, 1-low, 1+high) A) (PPO 1707.06347, eq. 7), shaped like the ratio.

    ``delta`` caps the ratio of the unclipped branch, which PPO leaves unbounded when A < 0.

    >>> clipped(torch.tensor([[2.0]]), torch.tensor([1.0])).tolist()
    [[-1.2000000476837158]]
    """
    advantage = advantage_B.detach()[:, None]
    free = ratio_BT if delta is None else ratio_BT.clamp(max=delta)
    return -torch.minimum(free * advantage, ratio_BT.clamp(1.0 - low, 1.0 + high) * advantage)


def reinforce(logp_BT: Tensor, advantage_B: Tensor) -> Tensor:
    """Return -A lp per token: the plain score-function gradient."""
    return -advantage_B.detach()[:, None] * logp_BT


def cispo(logp_BT: Tensor, ratio_BT: Tensor, advantage_B: Tensor, cap: float = 1.3) -> Tensor:
    """Return -sg[min(ratio, cap)] A lp (CISPO 2506.13585): weights are clipped, every token keeps a gradient.

    ``cap`` is the cap itself, not a distance from 1.
    """
    return -ratio_BT.detach().clamp(max=cap) * advantage_B.detach()[:, None] * logp_BT


def sapo(ratio_BT: Tensor, advantage_B: Tensor, positive: float = 1.0, negative: float = 1.05) -> Tensor:
    """Return -A (4/t) sigmoid(t (ratio - 1)), a soft clip with temperature t by the advantage's sign (SAPO 2511.20347).

    >>> sapo(torch.ones(1, 1), torch.tensor([3.0]), positive=0.5).tolist()      # at ratio 1: -A 2/t, with slope -A
    [[-12.0]]
    """
    if not (positive > 0 and negative > 0):
        raise CounterpointError(
            f"SAPO's temperatures are {positive} and {negative}; both need to be above 0, for example 1.0 and 1.05"
        )
    advantage = advantage_B.detach()[:, None]
    t = _either(advantage > 0, positive, negative, ratio_BT)
    return -advantage * (4.0 / t) * torch.sigmoid(t * (ratio_BT - 1.0))


def vespo(
    logp_BT: Tensor,
    old_BT: Tensor | None,
    advantage_B: Tensor,
    mask_BT: Tensor,
    positive: tuple[float, float] = (2.0, 3.0),
    negative: tuple[float, float] = (3.0, 2.0),
) -> Tensor:
    """Return -sg[phi] A lp with phi = exp(la + k log w - la w) for the clipped sequence ratio w (VESPO 2602.10693).

    ``positive`` and ``negative`` are (k, la) for A >= 0 and A < 0.

    >>> logp = torch.tensor([[-1.0, -2.0]])                                     # one update per sample: w = phi = 1
    >>> vespo(logp, None, torch.tensor([3.0]), torch.ones(1, 2)).tolist()
    [[3.0, 6.0]]
    """
    old_BT = logp_BT if old_BT is None else old_BT
    drift_BT = (logp_BT - old_BT).detach().clamp(-20.0, 20.0)
    log_w_B1 = sequence_sum(drift_BT, mask_BT).clamp(math.log(1e-8), 20.0)[:, None]
    advantage = advantage_B.detach()[:, None]
    k = _either(advantage >= 0, positive[0], negative[0], log_w_B1)
    la = _either(advantage >= 0, positive[1], negative[1], log_w_B1)
    phi = torch.exp(la + k * log_w_B1 - la * log_w_B1.exp())
    return -phi * advantage * logp_BT


def _either(condition: Tensor, yes: float, no: float, like: Tensor) -> Tensor:
    """Pick a number by a condition, in the dtype of ``like``: through float32 it would be rounded."""
    return torch.where(condition, like.new_tensor(yes), like.new_tensor(no))


def high_entropy(
    entropy_BT: Tensor, mask_BT: Tensor, share: float, *, gather: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the mask of the ``share`` of counted tokens with the highest entropy (threshold in float32).

    The quantile is over the tokens given and those that ``gather`` ([n] -> [N]) adds from other ranks.

    >>> high_entropy(torch.tensor([[1.0, 3.0, 2.0]]), torch.ones(1, 3), share=0.4).tolist()
    [[False, True, False]]
    """
    counted = mask_BT.bool()
    values = entropy_BT.detach()[counted].float()
    values = values if gather is None else gather(values)
    if not values.numel():
        return counted
    threshold = _quantile(values, 1.0 - share)
    return counted & (entropy_BT.detach().float() >= threshold)


def _quantile(values_N: Tensor, q: float) -> Tensor:
    """``torch.quantile`` for any number of values.

    >>> float(_quantile(torch.tensor([1.0, 3.0, 2.0, 4.0]), 0.5))
    2.5
    """
    if values_N.numel() <= MOST_VALUES:
        return torch.quantile(values_N, q)
    rank = q * (values_N.numel() - 1)
    below = int(rank)
    low, high = (values_N.kthvalue(min(k, values_N.numel() - 1) + 1).values for k in (below, below + 1))
    return torch.lerp(low, high, rank - below)


def on_policy(
    logp_BT: Tensor, old_BT: Tensor, advantage_B: Tensor, mask_BT: Tensor, threshold: float
) -> Tensor:
    """Return [B], false for sequences to drop: a negative advantage, and old - logp above ``threshold`` on average."""
    drift_B = sequence_mean((old_BT - logp_BT).detach(), mask_BT)
    return ~((advantage_B < 0) & (drift_B > threshold))


@dataclass(frozen=True)
class Variant:
    """One published choice of per-token loss, ratio level and aggregation."""

    loss: Literal["clipped", "cispo", "sapo", "vespo", "reinforce"]
    aggregation: Aggregation
    level: Level = "token"
    low: float = 0.2
    high: float = 0.2


VARIANTS: dict[str, Variant] = {
    "grpo": Variant("clipped", "sequence_mean"),
    "bnpo": Variant("clipped", "token_mean"),
    "dapo": Variant("clipped", "token_mean", high=0.28),
    "dr_grpo": Variant("clipped", "constant"),
    "gspo": Variant("clipped", "sequence_mean", level="sequence", low=3e-4, high=4e-4),
    "luspo": Variant("clipped", "sequence_sum", level="sequence", low=3e-4, high=4e-4),
    "cispo": Variant("cispo", "token_mean", high=1.3),
    "sapo": Variant("sapo", "sequence_mean"),
    "vespo": Variant("vespo", "token_mean"),
    "ppo": Variant("clipped", "sequence_sum"),
    "rloo": Variant("clipped", "sequence_sum", level="sequence_sum"),
    "reinforce": Variant("reinforce", "sequence_sum"),
}
"""``bnpo`` and ``dapo`` share their aggregation: a token mean is always over the whole batch here, never a micro-batch's."""


def policy_gradient(
    logp_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    variant: str = "dapo",
    *,
    old_BT: Tensor | None = None,
    level: Level | None = None,
    low: float | None = None,
    high: float | None = None,
    delta: float | None = None,
    max_length: int | None = None,
    keep_BT: Tensor | None = None,
    weight_BT: Tensor | None = None,
    reference_BT: Tensor | None = None,
    kl: float = 0.0,
    kl_kind: Literal["k1", "k2", "k3"] = "k3",
    kl_corrected: bool | Level = True,
    temperatures: tuple[float, float] | None = None,
    exponents: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Loss:
    """Return the loss of a named variant; its values are per sequence.

    Args:
        logp_BT: log pi of the sampled tokens at the sampling temperature; carries the gradient.
        advantage_B: from ``counterpoint.objectives.preference.advantage``.
        mask_BT: tokens the policy produced, up to and including the end token.
        variant: one of ``VARIANTS``.
        old_BT: log-probabilities when the sample was drawn; None for a single update per sample.
        level: of the importance ratio; None takes the variant's. Losses a token are weighted by it ("sequence": every token of
            a completion alike); ``rloo`` has one loss a completion and no other level.
        low, high, delta: clip bounds; None takes the variant's. For ``cispo``, ``high`` is the cap itself.
        max_length: the longest allowed completion; needed by ``dr_grpo``.
        keep_BT: extra mask (``high_entropy``, ``on_policy``); dropped tokens keep their KL and their place in the mean.
        weight_BT: factor on every token's loss, without gradient (``mismatch.engine_weights``); not on the KL.
        reference_BT, kl, kl_kind: KL to a reference, added with factor ``kl`` after the masks.
        kl_corrected: multiply it by an importance ratio; True is the tokens' own, "sequence" that of the whole completion, as TRL
            does where its losses are weighted so.
        temperatures: of ``sapo``, for positive and negative advantages; None is (1.0, 1.05).
        exponents: of ``vespo``, (k, la) for positive and for negative advantages; None is ((2, 3), (3, 2)).

    A completion that is all padding has no gradient. Its loss is 0, except under ``rloo``: the ratio of an empty
    sequence is 1, so its loss is -A (which keeps the mean what the formula says).

    Raises:
        CounterpointError: an unknown variant, a KL without reference, a setting that the variant does not read.

    >>> lp = torch.zeros(1, 2, requires_grad=True)
    >>> policy_gradient(lp, torch.tensor([2.0]), torch.ones(1, 2), "grpo").mean().backward()
    >>> lp.grad.tolist()                                    # ratio 1, yet the gradient is -A / length
    [[-1.0, -1.0]]
    """
    if variant not in VARIANTS:
        raise CounterpointError(
            f"there is no policy-gradient variant {variant!r}; {nearest(variant, VARIANTS)}"
        )
    chosen = VARIANTS[variant]
    for name, value, reader in (("temperatures", temperatures, "sapo"), ("exponents", exponents, "vespo")):
        if value is not None and chosen.loss != reader:
            raise CounterpointError(
                f"{name}={value} was given to variant {variant!r}; only {reader!r} reads it: leave it out"
            )
    low, high = chosen.low if low is None else low, chosen.high if high is None else high
    logp_BT = masked(
        logp_BT, mask_BT
    )  # padding may hold anything: it must not reach an exp, nor its gradient
    old_BT = None if old_BT is None else masked(old_BT, mask_BT)
    own = chosen.level if level is None else level
    if (own == "sequence_sum") != (chosen.level == "sequence_sum"):
        raise CounterpointError(
            f"level={level!r} was given to variant {variant!r}; "
            + (
                "its loss is one a completion: leave it out"
                if chosen.level == "sequence_sum"
                else "expected 'token' or 'sequence'"
            )
        )
    flat_B = (advantage_B >= 0) | (chosen.loss == "sapo" or delta is not None)
    ratio_BT = ratio(logp_BT, old_BT, mask_BT, own, flat_B=flat_B)
    if chosen.loss == "clipped":
        loss_BT = clipped(ratio_BT, advantage_B, low, high, delta)
    elif chosen.loss == "cispo":
        loss_BT = cispo(logp_BT, ratio_BT, advantage_B, high)
    elif chosen.loss == "sapo":
        loss_BT = sapo(ratio_BT, advantage_B, *(temperatures or ()))
    elif chosen.loss == "vespo":
        loss_BT = vespo(logp_BT, old_BT, advantage_B, mask_BT, *(exponents or ()))
    else:
        loss_BT = reinforce(logp_BT, advantage_B)
    empty_B = torch.zeros_like(advantage_B)
    if chosen.level == "sequence_sum":  # one loss per sequence: it stands on a single position
        # Without a counted position the sequence still has its loss, of ratio exp(0); one that is masked out has none.
        counted_B = mask_BT.bool().any(-1) | (keep_BT is not None and ~keep_BT.bool().any(-1))
        empty_B = torch.where(counted_B, 0.0, loss_BT.detach()[:, 0])
        first_BT = mask_BT.bool() & (mask_BT.bool().long().cumsum(-1) == 1)
        loss_BT = masked(loss_BT.expand_as(logp_BT), first_BT)
    loss_BT = loss_BT.expand_as(logp_BT)
    if weight_BT is not None:
        if chosen.level == "sequence_sum":
            raise CounterpointError(
                f"variant {variant!r} has one loss a sequence, and weights of tokens were given"
            )
        loss_BT = loss_BT * masked(weight_BT.detach(), mask_BT)
    if keep_BT is not None:
        loss_BT = masked(loss_BT, keep_BT)
    if kl:
        if reference_BT is None:
            raise CounterpointError(
                "a KL weight needs the reference's log-probabilities; give reference_BT, or kl=0"
            )
        corrected_by: Level = kl_corrected if isinstance(kl_corrected, str) else "token"
        kl_ratio_BT = ratio(logp_BT, old_BT, mask_BT, corrected_by) if kl_corrected else None
        loss_BT = loss_BT + kl * kl_estimate(logp_BT, masked(reference_BT, mask_BT), kl_kind, kl_ratio_BT)
    reduced = aggregate(loss_BT, mask_BT, chosen.aggregation, max_length=max_length)
    return Loss(
        reduced.values + empty_B,
        reduced.counts,
        stats=_clip_statistics(ratio_BT, advantage_B, mask_BT, *_clip_bounds(chosen.loss, low, high)),
    )


def _clip_bounds(loss: str, low: float, high: float) -> tuple[float, float]:
    """Between which ratios a loss clips nothing."""
    if loss == "clipped":
        return 1.0 - low, 1.0 + high
    return -math.inf, high if loss == "cispo" else math.inf


def _clip_statistics(
    ratio_BT: Tensor, advantage_B: Tensor, mask_BT: Tensor, least: float, most: float
) -> dict[str, Tensor]:
    with torch.no_grad():
        ratio_BT, advantage_B1 = ratio_BT.expand_as(mask_BT), advantage_B[:, None]
        return {
            "clipped_low": sequence_mean(((ratio_BT < least) & (advantage_B1 < 0)).float(), mask_BT),
            "clipped_high": sequence_mean(((ratio_BT > most) & (advantage_B1 > 0)).float(), mask_BT),
            "ratio": sequence_mean(ratio_BT, mask_BT),
        }
