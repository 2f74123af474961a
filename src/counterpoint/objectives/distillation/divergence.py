"""Distillation per token: which divergence, over how much of the vocabulary, or from the sampled token alone.

The divergences themselves are statistics of ``counterpoint.kernels``; this file adds what losses need around them: kinds
by name and parameter, evaluation on the student's top-k entries, and the sampled-token form of the reverse KL. Student
S, teacher T (constant), both softmax(z / temperature). No square of the temperature is multiplied on; where classic
distillation (1503.02531) does, it is the weight of the term (``gkd``'s ``squared_temperature``).
References: GKD 2306.13649, DistiLLM 2402.03898, SDFT 2601.19897. Shapes: [...] positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.divergence_rows import (
    FORWARD,
    HELLINGER,
    JEFFREYS,
    REVERSE,
    TOTAL_VARIATION,
    Kind,
    amari,
    as_kind,
    jsd,
    row_divergence,
    skewed_forward,
    skewed_reverse,
)
from counterpoint.kernels.scores import Scores, constant
from counterpoint.kernels.vocabulary import divergence, log_probs, top_entries

__all__ = ["divergence", "named_kind", "sampled_reverse_kl", "top_k_divergence"]

_PLAIN = {
    "forward": FORWARD,
    "reverse": REVERSE,
    "tv": TOTAL_VARIATION,
    "jeffreys": JEFFREYS,
    "hellinger": HELLINGER,
}
_PARAMETRIC: dict[str, Callable[[float], Kind]] = {
    "jsd": jsd,
    "skewed_forward": skewed_forward,
    "skewed_reverse": skewed_reverse,
    "alpha": amari,
}


def named_kind(name: str, parameter: float | None = None) -> Kind:
    """Return the divergence a setting names; those with a parameter need it, the others refuse one.

    >>> named_kind("jsd", 0.5).name, named_kind("reverse").name
    ('jsd', 'reverse')
    """
    if name in _PLAIN:
        if parameter is not None:
            raise CounterpointError(f"divergence {name!r} has no parameter and got {parameter}; leave it out")
        return _PLAIN[name]
    if name in _PARAMETRIC:
        if parameter is None:
            raise CounterpointError(
                f"divergence {name!r} needs its parameter, for example named_kind({name!r}, 0.5)"
            )
        return _PARAMETRIC[name](parameter)
    raise CounterpointError(f"there is no divergence {name!r}; {nearest(name, [*_PLAIN, *_PARAMETRIC])}")


def top_k_divergence(
    student: Scores,
    teacher: Scores,
    k: int,
    kind: Kind | str = FORWARD,
    *,
    rest: Literal["tail", "renormalise"] = "tail",
    temperature: float = 1.0,
) -> Tensor:
    """Return the divergence [...] on the k entries the *student* rates highest.

    ``tail`` gathers everything else in one more class and bounds the full divergence from below. ``renormalise`` forgets
    everything else: with k = 1 it is always 0, so prefer the tail.

    >>> z, t = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    >>> bool(top_k_divergence(z, t, 1) > 0), float(top_k_divergence(z, t, 1, rest="renormalise"))
    (True, 0.0)
    """
    ids = top_entries(student, k)
    log_s = log_probs(student, ids, temperature=temperature)
    log_t = log_probs(constant(teacher), ids, temperature=temperature)
    if rest == "tail":
        log_s, log_t = _with_tail(log_s), _with_tail(log_t)
    elif rest == "renormalise":
        log_s, log_t = torch.log_softmax(log_s, -1), torch.log_softmax(log_t, -1)
    else:
        raise CounterpointError(f"rest={rest!r}; expected 'tail' or 'renormalise'")
    return row_divergence(log_s, log_t, as_kind(kind))


def _with_tail(log_p: Tensor) -> Tensor:
    covered = torch.logsumexp(log_p, -1, keepdim=True).clamp(max=-1e-7)  # the rest never becomes log 0
    return torch.cat([log_p, torch.log(-torch.expm1(covered))], -1)


def sampled_reverse_kl(
    logp: Tensor, teacher_logp: Tensor, *, old_logp: Tensor | None = None, ratio_cap: float | None = None
) -> Tensor:
    """Return sg[log S(y) - log T(y)] log S(y) per sampled token: the reverse KL without the vocabulary.

    On-policy its *gradient* is an unbiased estimate of grad KL(S || T) with prefixes held fixed; its value is no KL. (The
    log-ratio itself, used as a loss, has expected gradient zero.)

    Args:
        logp: log S of the sampled tokens; carries the gradient.
        teacher_logp: log T of the same tokens.
        old_logp: log-probabilities when the tokens were drawn; multiplies the detached ratio S / S_old on.
        ratio_cap: truncates that ratio.

    >>> lp = torch.tensor([-1.0], requires_grad=True)
    >>> sampled_reverse_kl(lp, torch.tensor([-3.0])).backward()
    >>> lp.grad.tolist()                                        # pushed down: the teacher likes the token less
    [2.0]
    """
    advantage = (logp - teacher_logp).detach()
    loss = advantage * logp
    if old_logp is None:
        return loss
    weight = torch.exp((logp - old_logp).detach().clamp(-20.0, 20.0))
    return loss * (weight if ratio_cap is None else weight.clamp(max=ratio_cap))
