"""Two views of each row against the other rows: the input-input losses of arXiv 2102.12982 under one name each.

    ntxent          each view against all other views, both ways                     (arXiv 2002.05709)
    oneway          first views against all second views                             (arXiv 1705.00652)
    symmetric       the mean of both directions                                      (arXiv 2103.00020)
    supcon          all views of the rows of the same group are positives            (arXiv 2004.11362)
    n_pair          oneway without length 1 and temperature                          (Sohn 2016)
    pair_margin     the partner near, one other row beyond a margin, Euclidean        (Hadsell et al. 2006)
    triplet_l2, triplet_cos   the partner nearer than one other row, by a margin

n rows of this rank, N of all ranks, D dimensions. The last three read one other row for each: the one ``step`` further
around the batch.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.objectives.contrast.infonce import info_nce, nt_xent, symmetric_info_nce
from counterpoint.objectives.contrast.margins import pair_margin, row_triplet
from counterpoint.objectives.labels.supervised import supcon_views
from counterpoint.objectives.reduction import Loss, nonzero_mean

Viewed = Literal[
    "ntxent", "oneway", "symmetric", "supcon", "n_pair", "pair_margin", "triplet_l2", "triplet_cos"
]
VIEWED: tuple[str, ...] = get_args(Viewed)


def view_contrast(
    name: Viewed,
    first: Tensor,
    second: Tensor,
    *,
    temperature: float = 0.1,
    margin: float = 0.5,
    groups: Tensor | None = None,
    candidates: tuple[Tensor, Tensor] | None = None,
    candidate_groups: Tensor | None = None,
    offset: int = 0,
    step: int = 1,
    repeats: Tensor | None = None,
) -> Loss:
    """Loss of each row.

    Args:
        first, second: [n, D], two views of each row.
        temperature: of the first four. margin: of the last three.
        groups: [n], for supcon: rows of one group belong together; a row of a group of its own has its other view.
        candidates: (all firsts, all seconds), each [N, D]; default the local ones. candidate_groups: [N].
        offset: where the local rows lie among the candidates.
        step: 1 to N - 1; which other row is the negative of the last three.
        repeats: [N], the same number for rows that repeat one thing: they are no negatives of one another, and a row whose one other row
            repeats it has no term for that. supcon has ``groups`` for this.

    Raises:
        CounterpointError: an unknown name; supcon without groups; a single row.

    >>> z = torch.eye(2)
    >>> [round(x, 4) for x in view_contrast("oneway", z, z, temperature=1.0).values.tolist()]
    [0.3133, 0.3133]
    """
    if name not in VIEWED:
        raise CounterpointError(f"there is no loss of views '{name}'; {nearest(name, VIEWED)}")
    count = len(first if candidates is None else candidates[0])
    if count < 2:
        raise CounterpointError(
            f"{name} got a batch of {count}; it needs at least one other row to push away from"
        )
    keys = second if candidates is None else candidates[1]
    if name == "ntxent":
        return Loss(
            nt_xent(
                first, second, temperature=temperature, candidates=candidates, offset=offset, repeats=repeats
            )
        )
    if name == "oneway":
        return Loss(info_nce(first, keys, temperature=temperature, offset=offset, repeats=repeats))
    if name == "symmetric":
        return Loss(
            symmetric_info_nce(
                first,
                second,
                temperature=temperature,
                candidates=candidates,
                offset=offset,
                repeats=repeats,
            )
        )
    if name == "n_pair":
        return Loss(info_nce(first, keys, temperature=1.0, offset=offset, normalize=False, repeats=repeats))
    if name == "supcon":
        if groups is None:
            raise CounterpointError("supcon needs groups=[n], which rows belong together")
        all_rows = None if candidates is None else torch.stack(candidates, 1)
        return nonzero_mean(
            supcon_views(
                torch.stack((first, second), 1), groups, temperature=temperature, candidates=all_rows,
                candidate_labels=candidate_groups, offset=offset,
            )
        )  # fmt: skip
    here = offset + torch.arange(len(first), device=first.device)
    there = (here + step) % count
    other = keys[there]
    negative = torch.ones_like(here, dtype=torch.bool) if repeats is None else repeats[there] != repeats[here]
    if name == "pair_margin":
        together, apart = torch.ones_like(here), torch.zeros_like(here)
        far = torch.where(negative, pair_margin(first, other, apart, margin), 0.0)
        return Loss((pair_margin(first, second, together, margin) + far) / 2)
    values = row_triplet(first, second, other, margin, "cosine" if name == "triplet_cos" else "euclidean")
    return Loss(torch.where(negative, values, 0.0))
