"""Per-position statistics of scores over a vocabulary: log-probabilities, entropy, divergence. Never losses.

Every function takes dense logits [..., V] or a ``Head`` and returns one number per position; clipping, per-token
weights and reduction happen outside. Positions outside ``mask`` return 0, get no gradient and are not computed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
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
from counterpoint.kernels.scores import (
    Head,
    Scores,
    Sparse,
    constant,
    dense,
    narrow,
    positions,
    vocabulary,
    wide,
)

__all__ = [
    "FORWARD",
    "HELLINGER",
    "JEFFREYS",
    "REVERSE",
    "TOTAL_VARIATION",
    "Head",
    "Kind",
    "Scores",
    "Sparse",
    "amari",
    "dense",
    "divergence",
    "entropy",
    "jsd",
    "log_probs",
    "log_probs_and_entropy",
    "row_divergence",
    "skewed_forward",
    "skewed_reverse",
    "top_entries",
]


def log_probs(
    scores: Scores,
    ids: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the log-probability of given entries.

    Args:
        scores: positions [...] over V entries.
        ids: [...] one entry per position, or [..., K] several.
        temperature: divides the logits.
        mask: [...] bool; other positions are skipped and return 0 (their ids may be anything, such as -100).
        weights: [...], the factors the loss will put on each position, up to a common factor, when known beforehand.
            Only a hint for speed: it lets the forward form the gradients. Never changes a result.

    Returns:
        The shape of ``ids``, float32 or wider.

    >>> log_probs(torch.zeros(1, 4), torch.tensor([2])).exp().tolist()
    [0.25]
    """
    selected, (ids,), restore = _select(scores, mask, ids)
    several = ids.dim() > len(positions(selected))
    _check_ids(ids, vocabulary(selected))
    log_p = _log_softmax(selected, temperature)
    picked = log_p.gather(-1, ids if several else ids.unsqueeze(-1))
    return restore(picked if several else picked.squeeze(-1))


def entropy(scores: Scores, *, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Return the entropy in nats of each position, differentiable.

    >>> entropy(torch.zeros(1, 4)).exp().tolist()
    [4.0]
    """
    selected, _, restore = _select(scores, mask)
    log_p = _log_softmax(selected, temperature)
    return restore(-_p_log_p(log_p).sum(-1))


def log_probs_and_entropy(
    scores: Scores,
    ids: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``log_probs(...)`` and the entropy as a detached statistic, in one pass over the vocabulary."""
    selected, (ids,), restore = _select(scores, mask, ids)
    several = ids.dim() > len(positions(selected))
    _check_ids(ids, vocabulary(selected))
    log_p = _log_softmax(selected, temperature)
    picked = log_p.gather(-1, ids if several else ids.unsqueeze(-1))
    spread = -_p_log_p(log_p.detach()).sum(-1)
    return restore(picked if several else picked.squeeze(-1)), restore(spread)


def divergence(
    student: Scores,
    teacher: Scores | Sparse,
    kind: Kind | str = FORWARD,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the divergence between student and teacher at each position [...].

    Args:
        student: positions [...] over V entries.
        teacher: the same positions; never gets gradient. When the widths differ, the tail of the wider one is padding and
            is cut. A ``Sparse`` teacher serves the forward KL only, ``sum_k p_k (log p_k - log S(id_k))``.
        kind: "forward", "reverse", "tv", "jeffreys", "hellinger", or ``jsd(beta)``, ``skewed_forward(lam)``,
            ``skewed_reverse(lam)``, ``amari(alpha)``.
        temperature: divides both logits. No square of it is multiplied on.
        mask: [...] bool; other positions are skipped and return 0.
        weights: [...], the factors the loss will put on each position, up to a common factor (default: equal). Only a
            hint for speed.

    >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, -torch.inf]])
    >>> divergence(student, teacher, "forward").exp().tolist()
    [2.0]
    """
    kind = as_kind(kind)
    if positions(student) != (teacher.shape if isinstance(teacher, Sparse) else positions(teacher)):
        raise CounterpointError(
            f"student positions {tuple(positions(student))} and teacher positions "
            f"{tuple(teacher.shape if isinstance(teacher, Sparse) else positions(teacher))} differ; expected the same "
            "shape [...], aligned token by token"
        )
    if isinstance(teacher, Sparse):
        return _sparse_forward(student, teacher, kind, temperature, mask, weights)
    width = min(vocabulary(student), vocabulary(teacher))
    student, teacher = narrow(student, width), narrow(constant(teacher), width)
    student, (teacher,), restore = _select(student, mask, teacher)
    log_s, log_t = _log_softmax(student, temperature), _log_softmax(teacher, temperature)
    return restore(row_divergence(log_s, log_t, kind))


def top_entries(scores: Scores, k: int) -> Tensor:
    """Return the ids [..., k] of the largest scores, without gradient.

    >>> top_entries(torch.tensor([[0.0, 2.0, 1.0]]), 2).tolist()
    [[1, 2]]
    """
    with torch.no_grad():
        return dense(scores).topk(k, dim=-1).indices


def _sparse_forward(
    student: Scores,
    teacher: Sparse,
    kind: Kind,
    temperature: float,
    mask: Tensor | None,
    weights: Tensor | None,
) -> Tensor:
    if kind != FORWARD:
        raise CounterpointError(
            f"a sparse teacher was given with the divergence '{kind.name}'; only the forward KL needs the teacher at some "
            'entries alone; the call that works: divergence(student, Sparse(ids, probs), "forward")'
        )
    probs = wide(teacher.probs.detach())
    used = probs > 0
    log_s = log_probs(student, torch.where(used, teacher.ids, 0), temperature=temperature, mask=mask)
    terms = probs * (torch.where(used, probs, 1.0).log() - torch.where(used, log_s, 0.0))
    value = terms.sum(-1)
    return value if mask is None else torch.where(mask, value, 0.0)


def _log_softmax(scores: Scores, temperature: float) -> Tensor:
    logits = dense(scores)
    return torch.log_softmax(logits if temperature == 1 else logits / temperature, -1)


def _p_log_p(log_p: Tensor) -> Tensor:
    finite = torch.where(log_p == -math.inf, 0.0, log_p)
    return torch.where(log_p == -math.inf, 0.0, finite.exp() * finite)


def _check_ids(ids: Tensor, width: int) -> None:
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < width):
        raise CounterpointError(
            f"vocabulary ids from {int(ids.min())} to {int(ids.max())} were given for {width} entries; expected 0 to "
            f"{width - 1} at every position in use; mark the others: log_probs(scores, ids, mask=ids != -100)"
        )


def _select(scores: Scores, mask: Tensor | None, *others):  # type: ignore[no-untyped-def]
    """Keep the positions in the mask; return a function that puts results back in place, zeros elsewhere."""
    if mask is None:
        return scores, others, lambda values: values
    shape = positions(scores)
    if mask.shape != shape or mask.dtype != torch.bool:
        raise CounterpointError(
            f"a mask of shape {tuple(mask.shape)} and type {mask.dtype} was given; expected bool {tuple(shape)}; "
            "for example mask=labels != -100"
        )

    def restore(values: Tensor) -> Tensor:
        full = values.new_zeros(shape + values.shape[1:])
        return full.index_put((mask,), values)

    return scores[mask], tuple(other[mask] for other in others), restore
