"""Per-position statistics of scores over a vocabulary: log-probabilities, entropy, divergence. Never losses.

Every function takes dense logits [..., V] or a ``Head`` and returns one number per position; clipping, per-token
weights and reduction happen outside. Positions outside ``mask`` return 0, get no gradient and are not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

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
    near_end,
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
    full_precision,
    narrow,
    positions,
    vocabulary,
    wide,
)
from counterpoint.kernels.triton_path import fused
from counterpoint.kernels.vocabulary.rows import PickedLogProbs, RowDivergence, RowEntropy, TopEntries
from counterpoint.kernels.vocabulary.selection import Selection
from counterpoint.kernels.vocabulary.tiles import tiled_log_probs

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
    "log_probs_and_peak",
    "row_divergence",
    "skewed_forward",
    "skewed_reverse",
    "top_entries",
]


@full_precision
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
    return _picked(scores, ids, temperature, mask, weights)[0]


@full_precision
def entropy(scores: Scores, *, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Return the entropy in nats of each position, differentiable.

    >>> entropy(torch.zeros(1, 4)).exp().tolist()
    [4.0]
    """
    chosen = Selection(scores, mask)
    if chosen.settings.streams(chosen.plain_bytes(copies=4)):
        statistic = _in_blocks(chosen.device).entropy()
        return chosen.restore(chosen.stream(statistic, temperature, None).squeeze(-1))
    return chosen.restore(-_p_log_p(_log_softmax(chosen.flat, temperature)).sum(-1))


@full_precision
def log_probs_and_entropy(
    scores: Scores,
    ids: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``log_probs(...)`` and the entropy as a detached statistic, in one pass over the vocabulary."""
    picked, spread = _picked(scores, ids, temperature, mask, weights, "entropy")
    assert spread is not None
    return picked, spread


@full_precision
def log_probs_and_peak(
    scores: Scores,
    ids: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``log_probs(...)`` and each position's largest log-probability as a detached statistic, in one pass.

    An entry is the likeliest where its log-probability is that largest one.

    >>> logp, peak = log_probs_and_peak(torch.tensor([[0.0, 2.0], [3.0, 1.0]]), torch.tensor([1, 1]))
    >>> (logp >= peak).tolist()
    [True, False]
    """
    picked, peak = _picked(scores, ids, temperature, mask, weights, "peak")
    assert peak is not None
    return picked, peak


@full_precision
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
    chosen = Selection(narrow(student, width), mask)
    against = Selection(narrow(constant(teacher), width), mask)
    if chosen.settings.streams(chosen.plain_bytes(copies=6)):
        form = RowDivergence if near_end(kind) else _in_blocks(chosen.device).divergence
        statistic = form(against.projection(temperature), kind)
        factor = chosen.pick(
            torch.ones(positions(student), device=chosen.device) if weights is None else weights
        )
        return chosen.restore(chosen.stream(statistic, temperature, factor.unsqueeze(-1)).squeeze(-1))
    log_s, log_t = _log_softmax(chosen.flat, temperature), _log_softmax(against.flat, temperature)
    return chosen.restore(row_divergence(log_s, log_t, kind))


@full_precision
def top_entries(scores: Scores, k: int) -> Tensor:
    """Return the ids [..., k] of the largest scores, without gradient.

    >>> top_entries(torch.tensor([[0.0, 2.0, 1.0]]), 2).tolist()
    [[1, 2]]
    """
    chosen = Selection(constant(scores), None)
    with torch.no_grad():
        if not chosen.settings.streams(chosen.plain_bytes(copies=1)):
            return dense(scores).topk(k, dim=-1).indices
        statistic = TopEntries(k)
        return chosen.restore(chosen.stream(statistic, 1.0, None).long())


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
    used = (probs > 0) if mask is None else (probs > 0) & mask.unsqueeze(-1)
    foreseen = torch.where(used, probs, 0.0)
    if weights is not None:
        foreseen = foreseen * weights.unsqueeze(-1)
    ids = torch.where(used, teacher.ids, 0)
    log_s = log_probs(student, ids, temperature=temperature, mask=mask, weights=foreseen)
    return torch.where(
        used, probs * (torch.where(used, probs, 1.0).log() - torch.where(used, log_s, 0.0)), 0.0
    ).sum(-1)


def _picked(
    scores: Scores,
    ids: Tensor,
    temperature: float,
    mask: Tensor | None,
    weights: Tensor | None,
    beside: Literal["entropy", "peak"] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of entries, and a statistic of each position where one is wanted."""
    several = ids.dim() > len(positions(scores))
    if ids.shape[: len(positions(scores))] != positions(scores):
        raise CounterpointError(
            f"ids of shape {tuple(ids.shape)} were given for positions {tuple(positions(scores))}; expected [...] or [..., K]"
        )
    chosen = Selection(scores, mask)
    table = chosen.pick(ids if several else ids.unsqueeze(-1))
    _check_ids(table, vocabulary(scores))
    spread: Tensor | None = None
    if chosen.settings.streams(chosen.plain_bytes(copies=4)):
        ways = _in_blocks(chosen.device)
        flat = chosen.flat if isinstance(scores, Head) else None
        if isinstance(flat, Head) and weights is None and _sums_over_positions(flat, table):
            picked, spread, peak = ways.tiled(
                flat, table, temperature, chosen.settings.budget_bytes, beside == "entropy"
            )
            spread = peak if beside == "peak" else spread
        else:
            spread = torch.empty(len(table), dtype=chosen.dtype, device=chosen.device) if beside else None
            factor = (
                None if weights is None else chosen.pick(weights).reshape(len(table), -1).expand(table.shape)
            )
            statistic = ways.picked(table)
            if beside is not None:
                setattr(statistic, beside, spread)
            picked = chosen.stream(statistic, temperature, factor)
            statistic.entropy = statistic.peak = None  # the backward must not write into what was handed out
    else:
        log_p = _log_softmax(chosen.flat, temperature)
        picked = log_p.gather(-1, table)
        if beside == "entropy":
            spread = -_p_log_p(log_p.detach()).sum(-1)
        elif beside == "peak":
            spread = log_p.detach().amax(-1)
    values = chosen.restore(picked if several else picked.squeeze(-1))
    return values, None if spread is None else chosen.restore(spread)


class _Ways(NamedTuple):
    """Kernels that work in blocks: statistics of whole rows, and a head's log-probabilities in tiles."""

    picked: type[PickedLogProbs] = PickedLogProbs
    entropy: type[RowEntropy] = RowEntropy
    divergence: type[RowDivergence] = RowDivergence
    tiled: Callable[..., tuple[Tensor, Tensor | None, Tensor]] = tiled_log_probs


def _in_blocks(device: torch.device) -> _Ways:
    """Choose the kernels."""
    if not fused(device):
        return _Ways()
    from counterpoint.kernels.vocabulary import fused as t

    return _Ways(t.FusedPicked, t.FusedEntropy, t.FusedDivergence, t.fused_log_probs)


def _sums_over_positions(head: Head, ids: Tensor) -> bool:
    """Whether some gradient cannot be formed per position: the head's, or that of several values per position."""
    if not torch.is_grad_enabled():
        return False
    trainable = head.weight.requires_grad or (head.bias is not None and head.bias.requires_grad)
    return trainable or (head.hidden.requires_grad and ids.shape[1] > 1)


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
