"""InfoNCE: tell a row's partner from all others, ``-log e^{s_ip/tau} / sum_j e^{s_ij/tau}`` (arXiv 1807.03748, eq. 4).

Two-view form NT-Xent arXiv 2002.05709 (eq. 1), two-way form arXiv 2103.00020, a queue of negatives arXiv 1911.05722
(eq. 1). Shapes: n local rows, N rows of all ranks, D dimensions, K queue entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.similarity import different, similarity_logsumexp, similarity_logsumexp_both
from counterpoint.objectives.in_batch import not_repeats, own_rows, scale_of, unit


def info_nce(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    negatives: Tensor | None = None,
    decoupled: bool = False,
    offset: int | Tensor = 0,
    normalize: bool = True,
    repeats: Tensor | None = None,
) -> Tensor:
    """One direction: query i against all keys, its own being ``keys[offset + i]``.

    Args:
        queries: [n, D].
        keys: [N, D], N >= n; rows that no query owns (hard negatives) are negatives to all.
        temperature: tau, a number, a scalar tensor or one per query [n].
        negatives: [K, D], a queue: then these alone, not the other keys, stand against the positive.
        decoupled: leave the positive out of the denominator (arXiv 2110.06848).
        offset: where the queries' keys lie among the keys (the first one's index, or all of them).
        normalize: rows to length 1 first.
        repeats: [N], the same number for keys that repeat one thing (equal captions): no query's negatives are repeats of its own key.

    Returns:
        [n]. Decoupled losses may be negative; they are 0 where all keys repeat the query's own.

    Raises:
        CounterpointError: shapes that do not fit; a decoupled loss without any negative; repeats beside a queue.

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in info_nce(z, z, temperature=1.0).tolist()]     # log(e + 1) - 1
    [0.3133, 0.3133]
    """
    if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1]:
        raise CounterpointError(
            f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)}; expected [n, D] and [N, D] of one width"
        )
    own = own_rows(len(queries), len(keys), offset, queries.device)
    scale = scale_of(temperature)
    if normalize:
        queries, keys = unit(queries), unit(keys)
        negatives = None if negatives is None else unit(negatives)
    positive = (queries * keys[own]).sum(-1) * scale
    others = not_repeats(repeats, own, len(keys))
    if negatives is not None:
        if repeats is not None:
            raise CounterpointError(
                "repeats are among the keys, and with negatives=... none of these is a negative; give one of both"
            )
        against = similarity_logsumexp(queries, negatives, scale=scale)
        require_negatives(len(negatives), decoupled)
        return (against if decoupled else torch.logaddexp(positive, against)) - positive
    if decoupled:
        require_negatives(len(keys) - 1, decoupled)
    if others:
        against = similarity_logsumexp(queries, keys, scale=scale, include=others)
        if not decoupled:
            return torch.logaddexp(positive, against) - positive
        alone = against == -torch.inf
        return torch.where(alone, 0.0, against.masked_fill(alone, 0.0) - positive)
    if decoupled:
        places = torch.arange(len(keys), device=keys.device)
        return similarity_logsumexp(queries, keys, scale=scale, include=[different(own, places)]) - positive
    return similarity_logsumexp(queries, keys, scale=scale) - positive


def require_negatives(num_negatives: int, decoupled: bool = True) -> None:
    """Refuse a denominator that would be log 0.

    Raises:
        CounterpointError: a decoupled loss with nothing to push away from.
    """
    if decoupled and num_negatives < 1:
        raise CounterpointError(
            "a loss without the positive in its denominator needs at least 2 instances and 1 was given; "
            "raise the batch size (drop_last=True leaves out a last batch of 1) or use info_nce"
        )


def symmetric_info_nce(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    decoupled: bool = False,
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
    normalize: bool = True,
    repeats: Tensor | None = None,
) -> Tensor:
    """Mean of both directions, image-text style: every first against all seconds and every second against all firsts.

    Args:
        first, second: [n, D], row i of one belongs to row i of the other.
        temperature: tau, a number or a (learnable) scalar tensor.
        decoupled: leave the positive out of both denominators.
        candidates: (all firsts, all seconds), each [N, D]; default the local rows.
        offset: where the local rows lie among the candidates.
        normalize: rows to length 1 first.
        repeats: [N], the same number for pairs with an equal side (captions that are alike): they are no negatives of one another.

    Returns:
        [n].

    >>> z = torch.eye(2)
    >>> torch.allclose(symmetric_info_nce(z, z.flip(0)), info_nce(z, z.flip(0)))
    True
    """
    if candidates is None and repeats is not None and len(torch.unique(repeats)) < len(first):
        require_same_shape(first, second)
        candidates = (first, second)
    if candidates is not None:
        forward = info_nce(
            first,
            candidates[1],
            temperature=temperature,
            decoupled=decoupled,
            offset=offset,
            normalize=normalize,
            repeats=repeats,
        )
        backward = info_nce(
            second,
            candidates[0],
            temperature=temperature,
            decoupled=decoupled,
            offset=offset,
            normalize=normalize,
            repeats=repeats,
        )
        return (forward + backward) / 2
    require_same_shape(first, second)
    if decoupled:
        require_negatives(len(first) - 1)
    if normalize:
        first, second = unit(first), unit(second)
    scale = scale_of(temperature)
    include = [different(torch.arange(len(first), device=first.device))] if decoupled else []
    rows, columns = similarity_logsumexp_both(first, second, scale=scale, include=include)
    return (rows + columns) / 2 - (first * second).sum(-1) * scale


def nt_xent(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
    normalize: bool = True,
    repeats: Tensor | None = None,
) -> Tensor:
    """NT-Xent: each of the 2n views against the 2N - 1 other views of all instances, mean of an instance's two views.

    Args:
        first, second: [n, D], two views of the same instances.
        temperature: tau, a number or a scalar tensor.
        candidates: (all firsts, all seconds), each [N, D]; default the local rows.
        offset: where the local rows lie among the candidates.
        normalize: rows to length 1 first.
        repeats: [N], the same number for instances that repeat one thing: they are no negatives of one another.

    Returns:
        [n].

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in nt_xent(z, z, temperature=1.0).tolist()]      # log(e + 2) - 1
    [0.5514, 0.5514]
    """
    require_same_shape(first, second)
    own = own_rows(len(first), len(first if candidates is None else candidates[0]), offset, first.device)
    if normalize:
        first, second = unit(first), unit(second)
        candidates = None if candidates is None else (unit(candidates[0]), unit(candidates[1]))
    scale = scale_of(temperature)
    rows = torch.cat([first, second])
    others = not_repeats(repeats, own, len(first if candidates is None else candidates[0]))
    if others:
        assert repeats is not None
        every = rows if candidates is None else torch.cat(candidates)
        apart = different(repeats[own].repeat(2), repeats.repeat(2))
        positive = (first * second).sum(-1) * scale
        against = similarity_logsumexp(rows, every, scale=scale, include=[apart])
        return torch.logaddexp(positive.repeat(2), against).view(2, -1).mean(0) - positive
    if candidates is None:
        columns, include = None, [different(torch.arange(len(rows), device=rows.device))]
    else:
        columns = torch.cat(candidates)
        places = torch.arange(len(columns), device=rows.device)
        include = [different(torch.cat([own, own + len(candidates[0])]), places)]
    against = similarity_logsumexp(rows, columns, scale=scale, include=include)
    return against.view(2, -1).mean(0) - (first * second).sum(-1) * scale


def require_same_shape(first: Tensor, second: Tensor) -> None:
    """Refuse two views that do not pair up.

    Raises:
        CounterpointError: shapes differ or are not [n, D].
    """
    if first.dim() != 2 or first.shape != second.shape:
        raise CounterpointError(
            f"two views of shape {tuple(first.shape)} and {tuple(second.shape)}; expected [n, D] both, row i of one "
            "showing the same instance as row i of the other"
        )
