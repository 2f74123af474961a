"""Advantage-guided distillation (ADPA, 2502.17927): push probability to next tokens that a preference-trained teacher raised.

With p+ the teacher after preference training and p- before it, A(s, a) = log p+(a|s) - log p-(a|s) is, up to a factor, the advantage of a
token in the maximum-entropy decision process. The loss of a state is minus its mean under the student, -sum_a pi(a|s) A(s, a), exact over
the vocabulary: equal to KL(pi || p+) - KL(pi || p-), so that no [positions, vocabulary] is formed. Shapes: positions [...] over V entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.kernels.divergence_rows import REVERSE
from counterpoint.kernels.scores import Scores, dense
from counterpoint.kernels.vocabulary import divergence, entropy, log_probs, top_entries

FLOOR = 1e-7
"""Probabilities below this count as this in a stored advantage, as in the authors' program."""
TINY = 1e-8


@dataclass(frozen=True)
class Top:
    """What is stored of a teacher pair at positions [...]: the K likeliest entries after preference training.

    Attributes:
        ids: [..., K] entries. probs: [..., K], p+ of them. advantages: [..., K], A of them; None where no teacher before is stored.
    """

    ids: Tensor
    probs: Tensor
    advantages: Tensor | None = None


def advantage_loss(
    student: Scores,
    after: Scores,
    before: Scores | None,
    *,
    clip: tuple[float, float] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return [...], -sum_a pi(a) A(a) at each position; gradient goes through pi alone.

    Args:
        student: pi. after, before: the teacher pair; without the one before, A = log p+ (the paper's ablation).
        clip: bounds of A; the authors' program has (0, 1), the paper none. With it the whole vocabulary is formed.
        mask: [...] bool; other positions give 0.

    >>> pi, p = torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])
    >>> round(advantage_loss(pi, p, torch.zeros(1, 2)).item(), 4)
    0.1201
    """
    if clip is None:
        loss = divergence(student, after, REVERSE, mask=mask)
        if before is None:
            return loss + entropy(student, mask=mask)
        return loss - divergence(student, before, REVERSE, mask=mask)
    with torch.no_grad():
        advantage = dense(after).log_softmax(-1)
        advantage = advantage if before is None else advantage - dense(before).log_softmax(-1)
    loss = -(dense(student).softmax(-1) * advantage.clamp(*clip)).sum(-1)
    return loss if mask is None else loss.masked_fill(~mask, 0.0)


@torch.no_grad()
def top_of(after: Scores, before: Scores | None, k: int) -> Top:
    """What is stored of a teacher pair. An entry that is not among the K likeliest of the teacher before counts there as the least
    probability that is stored of the teacher after, as in the authors' program.

    Args:
        after, before: the pair; without the one before, advantages are log p+. k: K.
    """
    ids = top_entries(after, k)
    probs = log_probs(after, ids).exp()
    advantages = probs.clamp(min=FLOOR).log()
    if before is not None:
        among = (ids[..., None] == top_entries(before, k)[..., None, :]).any(-1)
        reference = torch.where(among, log_probs(before, ids).exp(), probs.amin(-1, keepdim=True))
        advantages = advantages - reference.clamp(min=FLOOR).log()
    return Top(ids, probs, advantages)


def stored_advantage_loss(
    student: Scores,
    top: Top,
    *,
    clip: tuple[float, float] | None = None,
    mask: Tensor | None = None,
    bounded: bool = False,
) -> Tensor:
    """Return [...], -sum over the K stored entries of pi A; the others have A = 0.

    That takes most negative advantages away: of a flat student the sign of the whole may differ from ``advantage_loss``'s.

    Args:
        bounded: the student's probabilities are held in [1e-8, 1 - 1e-8], as in the authors' program.
    """
    assert top.advantages is not None
    advantages = top.advantages if clip is None else top.advantages.clamp(*clip)
    probs = log_probs(student, top.ids, mask=mask).exp()
    probs = _masked(probs.clamp(TINY, 1.0 - TINY) if bounded else probs, mask)
    return -(probs * advantages.to(probs)).sum(-1)


def stored_forward_kl(
    student: Scores, top: Top, *, mask: Tensor | None = None, bounded: bool = False
) -> Tensor:
    """Return [...], KL(p+ || pi) over K + 1 buckets, the stored entries and the rest: at most the whole divergence.

    Args:
        bounded: the teacher's probabilities are held in [1e-8, 1 - 1e-8] and the student's above 1e-7, as in the authors' program.
    """
    q = _masked(log_probs(student, top.ids, mask=mask).exp(), mask, fill=1.0 / (top.ids.shape[-1] + 1))
    p = top.probs.to(q)
    q = torch.cat([q, 1.0 - q.sum(-1, keepdim=True)], -1)
    p = torch.cat([p, 1.0 - p.sum(-1, keepdim=True)], -1)
    if bounded:
        p, q = p.clamp(TINY, 1.0 - TINY), q.clamp(FLOOR, 1.0 - TINY)
    p, q = p.clamp(min=0.0), q.clamp(min=torch.finfo(q.dtype).tiny)
    kl = (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1)
    return kl if mask is None else kl.masked_fill(~mask, 0.0)


def _masked(values: Tensor, mask: Tensor | None, fill: float = 0.0) -> Tensor:
    return values if mask is None else values.masked_fill(~mask[..., None], fill)
