"""Divergences between two rows of log-probabilities, and which ones there are.

S student, T teacher (constant), M their mixture, ``0 log 0 = 0``. References: forward KL, reverse KL and generalised
JSD arXiv 2306.13649 (section 3); skewed KLs arXiv 2402.03898 (section 3); total variation and f-divergences
arXiv 2307.15190; Amari's alpha family with limits KL(T|S) at 1 and KL(S|T) at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.mixture_rows import SHARE, excess

NAMES = (
    "forward",
    "reverse",
    "jsd",
    "skewed_forward",
    "skewed_reverse",
    "tv",
    "jeffreys",
    "alpha",
    "hellinger",
)
PARAMETRIC = {
    "jsd": "jsd(beta)",
    "skewed_forward": "skewed_forward(lam)",
    "skewed_reverse": "skewed_reverse(lam)",
    "alpha": "amari(alpha)",
}


@dataclass(frozen=True)
class Kind:
    """Which divergence: a name, and its parameter where it has one. Make it with the functions below."""

    name: str
    parameter: float = 0.0


FORWARD = Kind("forward")
REVERSE = Kind("reverse")
TOTAL_VARIATION = Kind("tv")
JEFFREYS = Kind("jeffreys")
HELLINGER = Kind("hellinger")


def jsd(beta: float) -> Kind:
    """``beta KL(T|M) + (1 - beta) KL(S|M)``, ``M = (1 - beta) S + beta T``; exactly 0 and 1 are the full forward and reverse KL.

    >>> jsd(0.0).name, jsd(1.0).name, jsd(0.5)
    ('forward', 'reverse', Kind(name='jsd', parameter=0.5))
    """
    _between(beta, "jsd(beta)", 0.5)
    return FORWARD if beta == 0 else REVERSE if beta == 1 else Kind("jsd", beta)


def skewed_forward(lam: float) -> Kind:
    """``KL(T|M)`` with ``M = lam T + (1 - lam) S``; lam = 0 is the forward KL."""
    _between(lam, "skewed_forward(lam)", 0.1)
    return FORWARD if lam == 0 else Kind("skewed_forward", lam)


def skewed_reverse(lam: float) -> Kind:
    """``KL(S|M)`` with ``M = (1 - lam) T + lam S``; lam = 0 is the reverse KL."""
    _between(lam, "skewed_reverse(lam)", 0.1)
    return REVERSE if lam == 0 else Kind("skewed_reverse", lam)


def amari(alpha: float) -> Kind:
    """``(sum T^alpha S^(1 - alpha) - 1) / (alpha (alpha - 1))``; 1 is the forward, 0 the reverse KL.

    >>> log_s, log_t = (torch.tensor(p, dtype=torch.float64).log() for p in ([0.9, 0.1], [0.3, 0.7]))
    >>> near, limit = (row_divergence(log_s, log_t, kind).item() for kind in (amari(1e-12), REVERSE))
    >>> abs(near - limit) < 1e-11
    True
    """
    return FORWARD if alpha == 1 else REVERSE if alpha == 0 else Kind("alpha", alpha)


def near_end(kind: Kind) -> bool:
    """Whether one of both rows all but is the mixture, so that the sum's other form is taken.

    >>> near_end(jsd(1e-6)), near_end(jsd(0.1)), near_end(skewed_forward(1e-6)), near_end(skewed_forward(0.999))
    (True, False, False, True)
    """
    if kind.name == "jsd":
        return min(kind.parameter, 1 - kind.parameter) < SHARE
    return kind.name in ("skewed_forward", "skewed_reverse") and 1 - kind.parameter < SHARE


def as_kind(kind: Kind | str) -> Kind:
    """Accept a name where the divergence has no parameter."""
    if isinstance(kind, Kind):
        return kind
    if kind in PARAMETRIC:
        raise CounterpointError(
            f"the divergence '{kind}' was given by name; it has a parameter; the call that works: kind={PARAMETRIC[kind]}"
        )
    if kind not in NAMES:
        raise CounterpointError(
            f"unknown divergence '{kind}'; {nearest(kind, NAMES)}; for example kind=\"reverse\" or kind=jsd(0.5)"
        )
    return Kind(kind)


def _between(value: float, call: str, example: float) -> None:
    if not 0 <= value <= 1:
        raise CounterpointError(
            f"{call} was given {value}; expected a number from 0 to 1; for example {call.split('(')[0]}({example})"
        )


def row_divergence(log_s: Tensor, log_t: Tensor, kind: Kind) -> Tensor:
    """Return the divergence [...] of two tables of log-probabilities [..., V]; gradient reaches ``log_s``.

    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> row_divergence(half, half, FORWARD).item()
    0.0
    """
    return row_terms(log_s, log_t, kind).sum(-1)


def row_terms(log_s: Tensor, log_t: Tensor, kind: Kind) -> Tensor:
    """Return the addends [..., V] of ``row_divergence``."""
    return _FORMULAS[kind.name](log_s, log_t, kind.parameter)


def _expect(log_p: Tensor, ratio: Tensor) -> Tensor:
    """``p * ratio`` with 0 where p is 0, also in the gradient."""
    empty = log_p == -math.inf
    return torch.where(empty, 0.0, log_p.exp() * torch.where(empty, 0.0, ratio))


def _log_ratio(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``log p - log q`` with 0 where p is 0 (whatever q), +inf where only q is 0."""
    return torch.where(log_p == -math.inf, 0.0, log_p - torch.where(log_p == -math.inf, 0.0, log_q))


def _forward(log_s: Tensor, log_t: Tensor, _: float) -> Tensor:
    return _expect(log_t, _log_ratio(log_t, log_s))


def _reverse(log_s: Tensor, log_t: Tensor, _: float) -> Tensor:
    safe_s = torch.where(log_s == -math.inf, log_s.detach(), log_s)
    return _expect(safe_s, _log_ratio(safe_s, log_t))


def _mixture(log_s: Tensor, log_t: Tensor, share_t: float) -> Tensor:
    """``log((1 - share_t) S + share_t T)``, finite gradient where both are 0."""
    both = (log_s == -math.inf) & (log_t == -math.inf)
    mix = torch.logaddexp(
        torch.where(both, 0.0, log_s) + _log(1 - share_t), torch.where(both, 0.0, log_t) + _log(share_t)
    )
    return torch.where(both, -math.inf, mix)


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _jsd(log_s: Tensor, log_t: Tensor, beta: float) -> Tensor:
    if beta < SHARE:
        return _jsd_of_small(log_t, log_s, log_s, log_t, beta)
    if 1 - beta < SHARE:
        return _jsd_of_small(log_s, log_t, log_s, log_t, 1 - beta)
    log_m = _mixture(log_s, log_t, beta)
    return beta * _expect(log_t, _log_ratio(log_t, log_m)) + (1 - beta) * _expect(
        log_s, _log_ratio(log_s, log_m)
    )


def _jsd_of_small(log_p: Tensor, log_q: Tensor, log_s: Tensor, log_t: Tensor, w: float) -> Tensor:
    """``w KL(P|M) + (1 - w) KL(Q|M)`` with ``M = Q + w (P - Q)`` and w small; P, Q are S, T in one order or the other."""
    log_m = _mixture(log_s, log_t, w if log_q is log_s else 1 - w)
    far = (1 - w) * (log_q.exp() - log_p.exp()) + _expect(log_p, _log_ratio(log_p, log_m))
    return w * far + (1 - w) * excess(log_q, log_p, w)


def _skewed_forward(log_s: Tensor, log_t: Tensor, lam: float) -> Tensor:
    if 1 - lam < SHARE:
        return excess(log_t, log_s, 1 - lam)
    return _expect(log_t, _log_ratio(log_t, _mixture(log_s, log_t, lam)))


def _skewed_reverse(log_s: Tensor, log_t: Tensor, lam: float) -> Tensor:
    if 1 - lam < SHARE:
        return excess(log_s, log_t, 1 - lam)
    return _expect(log_s, _log_ratio(log_s, _mixture(log_s, log_t, 1 - lam)))


def _tv(log_s: Tensor, log_t: Tensor, _: float) -> Tensor:
    return 0.5 * (log_s.exp() - log_t.exp()).abs()


def _jeffreys(log_s: Tensor, log_t: Tensor, _: float) -> Tensor:
    return _forward(log_s, log_t, 0.0) + _reverse(log_s, log_t, 0.0)


def _alpha(log_s: Tensor, log_t: Tensor, alpha: float) -> Tensor:
    return _alpha_excess(log_s, log_t, alpha) / (alpha * (alpha - 1))


def _alpha_excess(log_s: Tensor, log_t: Tensor, alpha: float) -> Tensor:
    """``T^a S^(1 - a) - P``, whose sum is that of the powers less 1; P is the one of S and T that the powers are nearer to.

    With r = log T - log S the powers are ``S e^(a r)`` and ``T e^((a - 1) r)``: as P expm1(x) nothing cancels, neither near
    the limits 0 and 1 of alpha, where the factor 1 / (a (a - 1)) would blow rounding up, nor where S and T are alike.
    """
    if alpha < 0.5:
        log_p, rate, ratio = log_s, alpha, _log_ratio(log_s, log_t).neg()
    else:
        log_p, rate, ratio = log_t, alpha - 1, _log_ratio(log_t, log_s)
    x = rate * ratio
    # P e^x may be representable where e^x is not; each branch sees only arguments that keep its gradient finite.
    steep = x > 1
    power = (torch.where(steep, log_p, 0.0) + torch.where(steep, x, 0.0)).exp()
    gentle = _expect(log_p, torch.expm1(torch.where(steep, 0.0, x)))
    return torch.where(steep, power - log_p.exp(), gentle)


def _hellinger(log_s: Tensor, log_t: Tensor, _: float) -> Tensor:
    return 0.5 * ((0.5 * log_s).exp() - (0.5 * log_t).exp()).square()


_FORMULAS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "forward": _forward, "reverse": _reverse, "jsd": _jsd, "skewed_forward": _skewed_forward,
    "skewed_reverse": _skewed_reverse, "tv": _tv, "jeffreys": _jeffreys, "alpha": _alpha, "hellinger": _hellinger,
}  # fmt: skip
