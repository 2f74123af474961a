"""Global contrast with a temperature per sample: ``tau_i log E_z e^{h_i(z)/tau_i} + tau_i rho`` (arXiv 2305.11965, RGCL).

A moving average ``s_i`` of each anchor's mean exponential stands for the mean over *all* negatives, so small batches do;
and tau_i descends its own gradient, so frequent semantics end warm and rare ones cold. With one fixed temperature it is
SogCLR (arXiv 2202.12387). The loss is a surrogate whose gradient is the right one; its value is not the objective.
Averages are kept as logarithms: ``e^{s/tau}`` overflows float32 below tau = 0.01. Shapes: n anchors, M columns, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import (
    Rule,
    different,
    similarity_logsumexp,
    similarity_logsumexp_and_mean,
)
from counterpoint.objectives.in_batch import not_repeats, own_rows, unit


@dataclass(frozen=True)
class Robust:
    """What one look at a batch says about its anchors.

    Attributes:
        values: [n] surrogate losses, carrying the gradient.
        log_average: [n] the new log s_i, to be stored.
        temperature_gradient: [n] dF/dtau_i, to be descended.
    """

    values: Tensor
    log_average: Tensor
    temperature_gradient: Tensor


def robust_views(
    first: Tensor,
    second: Tensor,
    temperature: Tensor,
    log_average: Tensor,
    *,
    gamma: float = 0.8,
    rho: float = 0.4,
    fresh: bool | Tensor = False,
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
    normalize: bool = True,
) -> Robust:
    """Two views of one modality; an anchor's negatives are both views of all other instances.

    Args:
        first, second: [n, D], two views of the same instances.
        temperature: [n], tau_i of the instances. log_average: [n], stored log s_i (-inf: never seen).
        gamma: weight of the new estimate in s_i. rho: the KL budget; each temperature's pull downwards.
        fresh: where s_i starts anew from this batch (the first epoch), a flag or [n] flags.
        candidates: (all firsts, all seconds), each [N, D]; default the local rows.
        offset: where the local rows lie among the candidates.
        normalize: rows to length 1 first.

    Returns:
        Values that are the sum over both views as anchors, and the mean over both of the rest.

    Raises:
        CounterpointError: fewer than 2 instances, or not one temperature per instance.
    """
    if normalize:
        first, second = unit(first), unit(second)
        candidates = None if candidates is None else (unit(candidates[0]), unit(candidates[1]))
    all_first, all_second = (first, second) if candidates is None else candidates
    _check(first, all_first, temperature, log_average)
    own = own_rows(len(first), len(all_first), offset, first.device)
    instances = torch.arange(len(all_first), device=first.device).repeat(2)
    columns = torch.cat([all_first, all_second])
    positive = (first * second).sum(-1)
    sides = [
        _side(
            rows,
            columns,
            [different(own, instances)],
            positive,
            temperature,
            log_average,
            gamma,
            rho,
            fresh,
            log_count=math.log(2 * len(all_first) - 2),
            relative=False,
        )
        for rows in (first, second)
    ]
    log_mean = torch.logaddexp(sides[0].log_average, sides[1].log_average) - math.log(2)
    gradient = (sides[0].temperature_gradient + sides[1].temperature_gradient) / 2
    return Robust(sides[0].values + sides[1].values, log_mean, gradient)


def robust_pairs(
    anchors: Tensor,
    partners: Tensor,
    temperature: Tensor,
    log_average: Tensor,
    *,
    gamma: float = 0.8,
    rho: float = 6.0,
    fresh: bool | Tensor = False,
    candidates: Tensor | None = None,
    offset: int = 0,
    normalize: bool = True,
    repeats: Tensor | None = None,
    include: Sequence[Rule] = (),
) -> Robust:
    """One direction of two modalities: anchor i against all partners, its own at similarity difference 0 included.

    The other direction is the same call with the modalities exchanged; the loss is the sum of both.

    Args:
        anchors, partners: [n, D], row i of one belongs to row i of the other.
        candidates: [N, D] all ranks' partners; default the local ones. Behind them may stand rows that are nobody's partner. Other
            arguments as in ``robust_views``.
        repeats: [N], the same number for pairs with an equal side (captions that are alike): an anchor's sum and its mean leave out the
            rows that repeat its own. An anchor that all others repeat gets no gradient.
        include: rules of the kernels in the place of ``repeats``, which must leave out an anchor's own partner.
    """
    if normalize:
        anchors, partners = unit(anchors), unit(partners)
        candidates = None if candidates is None else unit(candidates)
    columns = partners if candidates is None else candidates
    _check(anchors, columns, temperature, log_average)
    own = own_rows(len(anchors), len(columns), offset, anchors.device)
    others = [*include] or not_repeats(repeats, own, len(columns))
    log_count: float | Tensor = math.log(len(columns) - 1)
    if others:  # at scale 0 the sum of the exponentials is the number of rows, whatever their width; none count as one
        first, keys = anchors.detach()[:, :1], columns.detach()[:, :1]
        log_count = similarity_logsumexp(first, keys, scale=0.0, include=others).clamp(min=0.0)
    return _side(
        anchors, columns, others, (anchors * partners).sum(-1), temperature, log_average, gamma, rho, fresh,
        log_count=log_count, relative=True,
    )  # fmt: skip


def descend(
    temperature: Tensor,
    momentum: Tensor,
    gradient: Tensor,
    *,
    step: float = 0.03,
    beta: float = 0.5,
    clip: float | None = 3.0,
    low: float = 0.05,
    high: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """One step of the temperatures: return the new (temperature, momentum), each [n]. ``beta`` weighs the new gradient."""
    if clip is not None:
        gradient = gradient.clamp(-clip, clip)
    momentum = (1 - beta) * momentum + beta * gradient
    return (temperature - step * momentum).clamp(low, high), momentum


@torch.no_grad()
def best_temperature(h: Tensor, rho: float | Tensor, lowest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Exact dual for fixed features: the minimiser over tau >= lowest of ``tau log E e^{h/tau} + (tau - lowest) rho``.

    Args:
        h: [n, M], similarities less the positive's. rho: KL budget, a number or [n].

    Returns:
        tau* [n], the value [n], and the worst-case weights p* [n, M]; where tau* > lowest, KL(p* || uniform) = rho.

    >>> tau, value, p = best_temperature(torch.tensor([[0.0, 0.0]]), 0.1, 0.05)
    >>> tau.tolist(), value.tolist(), p.tolist()
    ([0.05000000074505806], [0.0], [[0.5, 0.5]])
    """
    highest = 1e3
    log_count = math.log(h.shape[1])

    def slope(tau: Tensor) -> Tensor:
        p = torch.softmax(h / tau[:, None], 1)
        return torch.logsumexp(h / tau[:, None], 1) - log_count + rho - (p * h).sum(1) / tau

    low = h.new_full((len(h),), lowest)
    high = h.new_full((len(h),), highest)
    for _ in range(200):
        middle = (low + high) / 2
        rising = slope(middle) > 0
        low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
    tau = torch.where(slope(h.new_full((len(h),), lowest)) >= 0, lowest, (low + high) / 2)
    value = tau * (torch.logsumexp(h / tau[:, None], 1) - log_count) + (tau - lowest) * rho
    return tau, value, torch.softmax(h / tau[:, None], 1)


def _side(
    rows: Tensor,
    columns: Tensor,
    include: Sequence[Rule],
    positive: Tensor,
    temperature: Tensor,
    log_average: Tensor,
    gamma: float,
    rho: float,
    fresh: bool | Tensor,
    *,
    log_count: float | Tensor,
    relative: bool,
) -> Robust:
    tau = temperature.detach()
    lse, mean = similarity_logsumexp_and_mean(rows, columns, scale=1 / tau, include=include)
    if relative and include:  # the own partner, left out with its repeats, is one of the rows
        apart, lse = lse, torch.logaddexp(lse, positive / tau)
        mean = torch.lerp(positive.detach(), mean, (apart - lse).detach().exp())
    with torch.no_grad():
        log_g = lse - log_count - (positive / tau if relative else 0.0)
        blended = torch.logaddexp(
            log_average + math.log1p(-gamma) if gamma < 1 else log_average * math.inf, log_g + math.log(gamma)
        )
        new = torch.where(torch.as_tensor(fresh, device=rows.device), log_g, blended)
        ratio = (log_g - new).exp()  # mass of the weights omega: 1 when the stored average is this batch's
        gap = mean - positive if relative else mean
        gradient = new + rho - ratio * gap / tau
    # tau * lse has the gradient of sum_z p_z <row, z> at fixed weights; its value is replaced by that sum's.
    pull = ratio * (tau * lse + (mean - tau * lse).detach())
    return Robust(pull - (ratio if relative else 1.0) * positive, new, gradient)


def _check(rows: Tensor, columns: Tensor, temperature: Tensor, log_average: Tensor) -> None:
    if len(columns) < 2:
        raise CounterpointError(
            "a global contrast needs at least 2 instances in a batch and 1 was given; raise the batch size"
        )
    if temperature.shape != rows.shape[:1] or log_average.shape != rows.shape[:1]:
        raise CounterpointError(
            f"{len(rows)} anchors with temperatures {tuple(temperature.shape)} and averages {tuple(log_average.shape)}; "
            "expected one each: memory.read('temperature', batch.index)"
        )
