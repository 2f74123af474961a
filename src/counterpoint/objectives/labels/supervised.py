"""Supervised contrast: every row of the anchor's class is a positive (arXiv 2004.11362, eq. 2 "out" and eq. 3 "in").

    out: l_i = log sum_{a != i} e^{s_ia/tau} - (1/|P(i)|) sum_{p in P(i)} s_ip/tau
    in:  l_i = log sum_{a != i} e^{s_ia/tau} - log (1/|P(i)|) sum_{p in P(i)} e^{s_ip/tau}

The denominator holds all other rows, positives included. An anchor without positives has loss and gradient 0; the mean is
over all anchors unless ``nonzero_mean`` leaves those out. Shapes: n anchors, N candidates, D dimensions, V views.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.similarity import key_mean_similarity, similarity_logsumexp
from counterpoint.objectives.in_batch import Relation, relate, scale_of, softplus
from counterpoint.objectives.reduction import Loss


def supcon_out(
    anchors: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    base_temperature: float | None = None,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """SupCon with the mean over positives outside the logarithm, the paper's recommended form.

    Args:
        anchors: [n, D].
        labels: [n].
        temperature: tau.
        base_temperature: multiply by ``temperature / base_temperature``, as the authors' code does with 0.07;
            None leaves the equation as it is.
        candidates: [N, D], all ranks' rows; default the anchors.
        candidate_labels: [N].
        offset: where the anchors lie among the candidates.
        normalize: rows to length 1 first.

    Returns:
        Loss with values [n], statistics ``has_positive`` and ``has_negative``.

    >>> loss = supcon_out(torch.eye(3), torch.tensor([0, 0, 1]), temperature=1.0)
    >>> [round(x, 4) for x in loss.values.tolist()], loss.stats["has_positive"].tolist()    # log 2 - 0
    ([0.6931, 0.6931, 0.0], [1.0, 1.0, 0.0])
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    scale = scale_of(temperature)
    pulled, has_positive = _mean_positive(relation)
    against = similarity_logsumexp(
        relation.anchors, relation.columns, scale=scale, include=[relation.not_own()], mask=has_positive
    )
    values = torch.where(has_positive, against - pulled * scale, 0.0)
    if base_temperature is not None:
        values = values * (temperature / base_temperature)
    return Loss(values, stats=relation.stats())


def supcon_in(
    anchors: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """SupCon with the mean over positives inside the logarithm; never above ``supcon_out``. Arguments as there."""
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    scale, positives = scale_of(temperature), relation.num_positives()
    has_positive = positives > 0
    a, b, rule = relation.anchors, relation.columns, relation.not_own()
    against = similarity_logsumexp(a, b, scale=scale, include=[rule], mask=has_positive)
    pulled = similarity_logsumexp(
        a, b, scale=scale, include=[relation.of_same_class(), rule], mask=has_positive
    )
    values = against - pulled + positives.clamp(min=1).to(against.dtype).log()
    return Loss(torch.where(has_positive, values, 0.0), stats=relation.stats())


def supcon_views(
    views: Tensor,
    labels: Tensor | None = None,
    *,
    form: Literal["out", "in"] = "out",
    contrast: Literal["all", "one"] = "all",
    temperature: float | Tensor = 0.1,
    base_temperature: float | None = None,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int = 0,
    normalize: bool = True,
) -> Loss:
    """SupCon over several views of each sample; without labels, a row's positives are its sample's other views.

    Args:
        views: [n, V, D].
        labels: [n], or None (two views then give NT-Xent).
        form: "out" or "in".
        contrast: "all" views are anchors, or "one": the first view only (all views stay candidates).
        temperature, base_temperature, normalize: as in ``supcon_out`` (the base temperature for "out" only).
        candidates: [N, V, D], all ranks' samples; default the local ones.
        candidate_labels: [N] with labels.
        offset: where the local samples lie among the candidates.

    Returns:
        Loss with values [n], the mean over a sample's anchors.

    >>> loss = supcon_views(torch.eye(2).expand(2, 2, 2).transpose(0, 1), temperature=1.0)
    >>> [round(x, 4) for x in loss.values.tolist()]
    [0.5514, 0.5514]
    """
    for name, given, allowed in (("form", form, ("out", "in")), ("contrast", contrast, ("all", "one"))):
        if given not in allowed:
            raise CounterpointError(f"supcon_views: unknown {name}='{given}'; {nearest(given, allowed)}")
    if views.dim() != 3:
        raise CounterpointError(
            f"views {tuple(views.shape)}; expected [samples, views, D]: torch.stack((z0, z1), dim=1)"
        )
    all_views = views if candidates is None else candidates
    n, num_views, total = views.shape[0], views.shape[1], all_views.shape[0]
    if (labels is None) != (candidate_labels is None) and candidates is not None:
        raise CounterpointError(
            "labels and candidate_labels go together: give both, or neither for instance contrast"
        )
    if labels is None:
        labels = torch.arange(n, device=views.device) + offset
        candidate_labels = torch.arange(total, device=views.device)
    elif candidate_labels is None:
        candidate_labels = labels
    anchored = num_views if contrast == "all" else 1
    own = torch.cat(
        [torch.arange(n, device=views.device) + offset + view * total for view in range(anchored)]
    )
    rows = views[:, :anchored].transpose(0, 1).reshape(anchored * n, -1)
    row_labels = labels.repeat(anchored)
    columns, column_labels = None, None
    if candidates is not None or anchored < num_views:
        columns = all_views.transpose(0, 1).reshape(num_views * total, -1)
        column_labels = candidate_labels.repeat(num_views)
    where: dict[str, Any] = {
        "candidates": columns,
        "candidate_labels": column_labels,
        "offset": own,
        "normalize": normalize,
    }
    if form == "out":
        loss = supcon_out(
            rows, row_labels, temperature=temperature, base_temperature=base_temperature, **where
        )
    else:
        loss = supcon_in(rows, row_labels, temperature=temperature, **where)
    stats = {name: value.view(anchored, n).mean(0) for name, value in loss.stats.items()}
    return Loss(loss.values.view(anchored, n).mean(0), stats=stats)


def nt_xent_pairs(
    anchors: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.07,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """NT-Xent once per ordered positive pair: that positive against the negatives, other positives nowhere.

    ``log(1 + sum_{k in N(i)} e^{(s_ik - s_ip)/tau})`` for every (i, p). Arguments as in ``supcon_out``.

    Returns:
        Loss with values [n] summed over the anchor's pairs, counts [n] of pairs.
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    scale = scale_of(temperature)
    against = similarity_logsumexp(
        relation.anchors, relation.columns, scale=scale, include=[relation.of_other_class()]
    )
    anchor, positive = relation.positive_pairs()
    pulled = (relation.anchors[anchor] * relation.candidates[positive]).sum(-1) * scale
    values = torch.zeros_like(against).index_add(0, anchor, softplus(against[anchor] - pulled))
    counts = relation.num_positives().to(values.dtype)
    return Loss(values, counts=counts, stats=relation.stats())


def n_pairs(
    anchors: Tensor,
    labels: Tensor,
    *,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
    offset: int | Tensor = 0,
    normalize: bool = True,
) -> Loss:
    """N-pairs (NeurIPS 2016, eq. 6): a class's first row against every class's second row, temperature 1.

    Only classes with at least two rows take part; arguments as in ``supcon_out``.

    Returns:
        Loss with values [n] (0 for rows that are no class's first) and counts [n] (1 for those that are).
    """
    relation = relate(anchors, labels, candidates, candidate_labels, offset, normalize)
    order = torch.argsort(relation.candidate_labels, stable=True)
    _, members = torch.unique_consecutive(relation.candidate_labels[order], return_counts=True)
    first = (torch.cumsum(members, 0) - members)[members > 1]
    leaders, partners = order[first], order[first + 1]
    row, column = (relation.own[:, None] == leaders[None, :]).nonzero(as_tuple=True)
    keys = relation.candidates[partners]
    values = relation.anchors.sum(-1) * 0.0
    counts = torch.zeros_like(values.detach())
    if len(row):
        queries = relation.anchors[row]
        losses = similarity_logsumexp(queries, keys) - (queries * keys[column]).sum(-1)
        values, counts = values.index_add(0, row, losses), counts.index_fill(0, row, 1.0)
    return Loss(values, counts=counts, stats=relation.stats())


def _mean_positive(relation: Relation) -> tuple[Tensor, Tensor]:
    """Mean similarity [n] with the positives (0 without any) and whether there are any [n], in O(N D)."""
    mean, count = key_mean_similarity(
        relation.anchors, relation.labels, relation.candidates, relation.candidate_labels
    )
    itself = (relation.anchors * relation.candidates[relation.own]).sum(-1)
    others = count - 1
    return torch.where(others > 0, (mean * count - itself) / others.clamp(min=1), 0.0), others > 0
