"""Privileged information: a teacher that is shown more than the student, of the same weights (arXiv 2602.04942).

pi-Distill (eq. 2-4) follows the *teacher's* completions and trains both views on them,

    alpha L_T + (1 - alpha) L_S,    L_T = -min(r A, clip(r) A),  r = pi^T / pi^T_old,
                                    L_S = -min(rho A, clip(rho) A),  rho = pi^S / sg[pi^T],

where A comes from rewards lowered by beta KL(pi^T || pi^S). OPSD (eq. 5) follows the *student's* completions and adds
beta KL(pi^S || sg pi^T) to its policy gradient. B completions, T tokens; log-probabilities are of the completions' tokens
under a prompt with (teacher) or without (student) the information, at the temperature of sampling.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.divergence_rows import REVERSE
from counterpoint.kernels.scores import Scores
from counterpoint.kernels.vocabulary import divergence, entropy
from counterpoint.objectives.preference.policy import clipped
from counterpoint.objectives.reduction import Loss
from counterpoint.objectives.tokens import Aggregation, aggregate, masked, sequence_mean, sequence_sum

DRIFT = 20.0
"""Log-ratios are held within this, so that an exponential stays finite."""


def shaped_rewards(
    rewards_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, beta: float, reduction: str = "sum"
) -> Tensor:
    """Return [B], R - beta KL: how a sequence-level penalty enters the reward (appendix E, algorithm 1).

    Args:
        rewards_B: of the environment; NaN stays NaN.
        kl_BT: KL(pi^T || pi^S) at every token, over the vocabulary; a constant.
        mask_BT: tokens that the model wrote.
        beta: weight.
        reduction: "sum" over the sequence (the paper's) or "mean": the weight then does not grow with length.

    Raises:
        CounterpointError: another reduction.

    >>> kl, mask = torch.tensor([[1.0, 3.0]]), torch.ones(1, 2)
    >>> [float(shaped_rewards(torch.ones(1), kl, mask, 0.25, how)) for how in ("sum", "mean")]
    [0.0, 0.5]
    """
    if reduction not in ("sum", "mean"):
        raise CounterpointError(f"KL reduction {reduction!r}; expected 'sum' or 'mean'")
    reduce = sequence_sum if reduction == "sum" else sequence_mean
    return (rewards_B - beta * reduce(kl_BT.to(rewards_B), mask_BT)).detach()


def surrogate(
    logp_BT: Tensor,
    against_BT: Tensor,
    advantage_B: Tensor,
    mask_BT: Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    dual_clip: float | None = None,
    aggregation: Aggregation = "token_mean",
    max_length: int | None = None,
    weight_BT: Tensor | None = None,
) -> Loss:
    """Return the clipped policy-gradient loss of token ratios exp(logp - sg[against]), one value a completion.

    Args:
        logp_BT: carries the gradient.
        against_BT: what the ratio is taken against: the old policy, or the teacher now. A constant.
        advantage_B: constant.
        mask_BT: tokens that the model wrote; a completion without any is left out of sequence means.
        low, high: the ratio is clipped to [1 - low, 1 + high].
        dual_clip: a token whose advantage is negative costs at most this many times its size; above 1 + high.
        aggregation, max_length: as in ``tokens.aggregate``.
        weight_BT: factor on every token's loss, without gradient (``preference.mismatch.engine_weights``).

    >>> logp = torch.tensor([[-1.0]], requires_grad=True)
    >>> surrogate(logp, torch.tensor([[-1.0]]), torch.tensor([2.0]), torch.ones(1, 1)).mean().backward()
    >>> logp.grad.tolist()
    [[-2.0]]
    """
    if dual_clip is not None and dual_clip <= 1.0 + high:
        raise CounterpointError(
            f"dual_clip={dual_clip} lies within the clip range, which ends at {1.0 + high}; give a larger one, such as 3"
        )
    drift_BT = masked(logp_BT - against_BT.detach(), mask_BT).clamp(-DRIFT, DRIFT)
    loss_BT = clipped(drift_BT.exp(), advantage_B, low, high, dual_clip)
    if weight_BT is not None:
        loss_BT = loss_BT * weight_BT.detach()
    reduced = aggregate(loss_BT, mask_BT, aggregation, max_length=max_length)
    if reduced.counts is not None or aggregation == "constant":
        return reduced
    return Loss(reduced.values, counts=mask_BT.bool().any(-1).to(reduced.values.dtype))


def joint(teacher: Loss | None, student: Loss | None, alpha: float) -> dict[str, Loss]:
    """Return the named terms alpha L_T and (1 - alpha) L_S (eq. 4); a term of weight 0 is left out.

    Raises:
        CounterpointError: alpha outside [0, 1], or a term of some weight is missing.

    >>> one = Loss(torch.ones(2))
    >>> [list(joint(one, one, alpha)) for alpha in (0.0, 0.5, 1.0)]
    [['student'], ['teacher', 'student'], ['teacher']]
    """
    if not 0.0 <= alpha <= 1.0:
        raise CounterpointError(f"alpha={alpha}; expected 0 (student alone) to 1 (teacher alone)")
    terms: dict[str, Loss] = {}
    for name, term, weight in (("teacher", teacher, alpha), ("student", student, 1.0 - alpha)):
        if not weight:
            continue
        if term is None:
            raise CounterpointError(
                f"alpha={alpha} gives the {name}'s loss weight {weight}, and none was given"
            )
        terms[name] = replace(term, weight=weight)
    return terms


def towards_teacher(
    student: Scores,
    teacher: Scores,
    mask_BT: Tensor,
    *,
    entropy_coefficient: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Return [B, T], CE(pi^S, sg pi^T) - c H(pi^S) at every token; c = 1 is the reverse KL of eq. 5.

    Over the whole vocabulary: the log-ratio of the sampled token, used as a loss, has expected gradient zero.

    Args:
        student: scores at the completions' positions [B, T]; carry the gradient.
        teacher: the same positions after the prompt with the information; constant.
        mask_BT: tokens that the model wrote.
        entropy_coefficient: c. temperature: divides both logits.

    >>> z, t = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])
    >>> a, b = (towards_teacher(z, t, torch.ones(1, 1), entropy_coefficient=c) for c in (1.0, 0.0))
    >>> bool(b > a)
    True
    """
    mask = mask_BT.bool()
    kl_BT = divergence(student, teacher, REVERSE, temperature=temperature, mask=mask)
    if entropy_coefficient == 1.0:
        return kl_BT
    return kl_BT + (1.0 - entropy_coefficient) * entropy(student, temperature=temperature, mask=mask)


def teacher_to_student(
    teacher: Scores, student: Scores, mask_BT: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Return [B, T] without gradient, KL(pi^T || pi^S) at every token: what ``shaped_rewards`` subtracts.

    >>> z = torch.tensor([[[2.0, 0.0]]])
    >>> teacher_to_student(z, z, torch.ones(1, 1)).tolist()
    [[0.0]]
    """
    with torch.no_grad():
        return divergence(teacher, student, REVERSE, temperature=temperature, mask=mask_BT.bool())
