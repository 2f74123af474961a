"""Contrast over several views at once: one term per instance holds all view interactions (arXiv 2507.06979).

Shapes: V views, n local instances, N instances of all ranks, D dimensions; inputs are view-major, ``[V, n, D]``. With
``s`` a similarity over tau, ``lse`` a log-sum-exp and ``within_l = lse_{j != i} s(i,l; j,l)``:

    MV-InfoNCE  lse_{l, (j,m) != (i,l)} s(i,l; j,m) - lse_{l != m} s(i,l; i,m)
    MV-DHEL     sum_l within_l - lse_{l < m} s(i,l; i,m)

The ``printed`` variants are the project page's formulas; the defaults are what its code trains. Baselines: poly-view
(arXiv 2403.05490) and the pairwise and averaged two-view losses. Denominators are sums of logarithms, never products.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest
from counterpoint.kernels.similarity import Rule, different, similarity_logsumexp, similarity_logsumexp_views
from counterpoint.objectives.contrast.infonce import nt_xent, require_negatives
from counterpoint.objectives.in_batch import own_rows, scale_of, unit


class Views:
    """Local views against all ranks' views, prepared once: unit rows, own places, scale.

    Args:
        views: [V, n, D], view-major.
        temperature: tau.
        candidates: [V, N, D], all ranks' views; default the local ones.
        offset: where the local instances lie among the candidates.
        decoupled: the loss has denominators without the instance itself, so N must be at least 2.

    Raises:
        CounterpointError: not [V, n, D], fewer than two views, or too few instances.
    """

    def __init__(
        self,
        views: Tensor,
        temperature: float | Tensor,
        candidates: Tensor | None = None,
        offset: int = 0,
        decoupled: bool = True,
    ) -> None:
        if views.dim() != 3 or views.shape[0] < 2:
            raise CounterpointError(
                f"views {tuple(views.shape)}; expected [views, instances, D] with at least 2 views: torch.stack((z0, z1, z2))"
            )
        self.rows = unit(views)
        self.columns = self.rows if candidates is None else unit(candidates)
        self.num_views, self.n, _ = views.shape
        if self.columns.dim() != 3 or self.columns.shape[::2] != self.rows.shape[::2]:
            raise CounterpointError(
                f"views {tuple(views.shape)} with candidates {tuple(self.columns.shape)}; expected [V, n, D] and [V, N, D]"
            )
        self.total = self.columns.shape[1]
        if decoupled:
            require_negatives(self.total - 1)
        self.own = own_rows(self.n, self.total, offset, views.device)
        self.positions = torch.arange(self.total, device=views.device)
        self.scale = scale_of(temperature)
        self.local = candidates is None

    def aligned(self) -> Tensor:
        """Similarities over tau [n, V, V] between the views of each instance."""
        return torch.einsum("lnd,mnd->nlm", self.rows, self.rows) * self.scale

    def pairs(self) -> Tensor:
        """Similarities over tau [n, V(V-1)/2] of the unordered pairs of views of each instance."""
        first, second = torch.triu_indices(self.num_views, self.num_views, 1, device=self.rows.device)
        return self.aligned()[:, first, second]

    def other_views(self) -> Tensor:
        """Similarities over tau [n, V, V-1] of each view with the instance's other views."""
        off = ~torch.eye(self.num_views, dtype=torch.bool, device=self.rows.device)
        return self.aligned()[:, off].view(self.n, self.num_views, self.num_views - 1)

    def within(self) -> Tensor:
        """[V, n]: log-sum-exp over the other instances, inside each view."""
        rule = self._not_own_instance()
        return torch.stack([
            similarity_logsumexp(row, None if self.local else column, scale=self.scale, include=[rule])
            for row, column in zip(self.rows, self.columns)
        ])  # fmt: skip

    def within_with_own(self) -> Tensor:
        """[V, n]: as ``within`` with the row itself among the terms."""
        return torch.stack([
            similarity_logsumexp(row, column, scale=self.scale) for row, column in zip(self.rows, self.columns)
        ])  # fmt: skip

    def between(self) -> Tensor:
        """[V, V, n]: log-sum-exp of view l's row over all instances in view m, own instance included."""
        return torch.stack([
            torch.stack([similarity_logsumexp(row, column, scale=self.scale) for column in self.columns])
            for row in self.rows
        ])  # fmt: skip

    def against(self, *rules: Rule) -> Tensor:
        """[V, n]: log-sum-exp of every row over all rows of all views that the rules let in."""
        columns = None if self.local else self.columns.flatten(0, 1)
        per_row = similarity_logsumexp(self.rows.flatten(0, 1), columns, scale=self.scale, include=rules)
        return per_row.view(self.num_views, self.n)

    def against_per_instance(self, rule: Rule) -> Tensor:
        """[n]: as ``against``, over all views' rows of an instance together."""
        if self.local:
            rows = self.rows.flatten(0, 1)
            return similarity_logsumexp_views(rows, self.num_views, scale=self.scale, include=[rule])
        return self.against(rule).logsumexp(0)

    def other_rows(self) -> Rule:
        """Every pair of rows but a row with itself."""
        positions = torch.arange(self.num_views * self.total, device=self.rows.device)
        return (
            different(positions) if self.local else different(self._spread(self.own, self.total), positions)
        )

    def other_instances(self) -> Rule:
        """Pairs of rows of two instances, whatever the views."""
        instances = self.positions.repeat(self.num_views)
        return different(instances) if self.local else different(self.own.repeat(self.num_views), instances)

    def across_views(self) -> Rule:
        """Pairs of rows of two views, whatever the instances."""
        view = torch.arange(self.num_views, device=self.rows.device)
        of_columns = view.repeat_interleave(self.total)
        return different(of_columns) if self.local else different(view.repeat_interleave(self.n), of_columns)

    def _not_own_instance(self) -> Rule:
        return different(self.positions) if self.local else different(self.own, self.positions)

    def _spread(self, own: Tensor, step: int) -> Tensor:
        return torch.cat([own + view * step for view in range(self.num_views)])


def mv_infonce(
    views: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    printed: bool = False,
    candidates: Tensor | None = None,
    offset: int = 0,
) -> Tensor:
    """MV-InfoNCE: one term per instance, all its view pairs against all rows.

    Args:
        views: [V, n, D], view-major; normalised inside.
        temperature: tau.
        printed: leave same-view pairs out of the denominator, as the printed formula does.
        candidates: [V, N, D], all ranks' views; default the local ones.
        offset: where the local instances lie among the candidates.

    Returns:
        [n].

    >>> z = torch.eye(2).expand(2, 2, 2)                                    # log(2 (e + 2)) - log(2 e)
    >>> [round(x, 4) for x in mv_infonce(z, temperature=1.0).tolist()]
    [0.5514, 0.5514]
    """
    v = Views(views, temperature, candidates, offset, decoupled=False)
    against = v.against_per_instance(v.across_views() if printed else v.other_rows())
    return against - v.other_views().flatten(1).logsumexp(1)


def mv_dhel(
    views: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    printed: bool = False,
    candidates: Tensor | None = None,
    offset: int = 0,
) -> Tensor:
    """MV-DHEL: alignment across views, uniformity inside each view, one log-denominator per view.

    ``printed`` takes ordered pairs in the numerator and keeps the row itself in its denominators. Arguments and result
    as in ``mv_infonce``; needs at least 2 instances.
    """
    v = Views(views, temperature, candidates, offset)
    if printed:
        return v.within_with_own().sum(0) - v.other_views().flatten(1).logsumexp(1)
    return v.within().sum(0) - v.pairs().logsumexp(1)


def mv_per_view(
    views: Tensor, *, temperature: float | Tensor = 0.5, candidates: Tensor | None = None, offset: int = 0
) -> Tensor:
    """Ablation: MV-InfoNCE's printed form with one term per view, not per instance (``cl_1``). Result [n]."""
    v = Views(views, temperature, candidates, offset, decoupled=False)
    return (v.against(v.across_views()) - v.other_views().logsumexp(2).T).mean(0)


def mv_dhel_per_view(
    views: Tensor, *, temperature: float | Tensor = 0.5, candidates: Tensor | None = None, offset: int = 0
) -> Tensor:
    """Ablation: MV-DHEL with one numerator per view (``cl_2``). Result [n]."""
    v = Views(views, temperature, candidates, offset)
    return v.within().sum(0) - v.other_views().logsumexp(2).mean(1)


def poly_view(
    views: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    mean: Literal["geometric", "arithmetic"] = "geometric",
    candidates: Tensor | None = None,
    offset: int = 0,
) -> Tensor:
    """Poly-view contrast (arXiv 2403.05490): each pair of views against all views of the other instances.

    ``l(a, b) = s_ab - log(e^{s_ab} + sum_{j != i, m} e^{s(i,a; j,m)})``, averaged over the targets b as it is
    (geometric) or inside the exponential (arithmetic).

    Args:
        views, temperature, candidates, offset: as in ``mv_infonce``.
        mean: "geometric" or "arithmetic".

    Returns:
        [n].
    """
    if mean not in ("geometric", "arithmetic"):
        raise CounterpointError(
            f"poly_view: unknown mean='{mean}'; {nearest(mean, ('geometric', 'arithmetic'))}"
        )
    v = Views(views, temperature, candidates, offset)
    positive = v.other_views()
    log_share = positive - torch.logaddexp(positive, v.against(v.other_instances()).T[:, :, None])
    if mean == "geometric":
        return -log_share.mean((1, 2))
    return math.log(v.num_views - 1) - log_share.logsumexp(2).mean(1)


def pairwise_nt_xent(
    views: Tensor, *, temperature: float | Tensor = 0.5, candidates: Tensor | None = None, offset: int = 0
) -> Tensor:
    """NT-Xent averaged over all pairs of views (PWE). Arguments and result as in ``mv_infonce``."""
    v = Views(views, temperature, candidates, offset, decoupled=False)
    off = ~torch.eye(v.num_views, dtype=torch.bool, device=views.device)
    terms = torch.logaddexp(v.within()[:, None], v.between())[off] - v.aligned().permute(1, 2, 0)[off]
    return terms.mean(0)


def pairwise_dhel(
    views: Tensor, *, temperature: float | Tensor = 0.5, candidates: Tensor | None = None, offset: int = 0
) -> Tensor:
    """The two-view ``-s_ab + within_a + within_b`` averaged over all pairs of views. As in ``mv_infonce``."""
    v = Views(views, temperature, candidates, offset)
    return 2 * v.within().mean(0) - v.pairs().mean(1)


def average_nt_xent(
    views: Tensor, *, temperature: float | Tensor = 0.5, candidates: Tensor | None = None, offset: int = 0
) -> Tensor:
    """NT-Xent of each view with the (not re-normalised) mean of the others, averaged. As in ``mv_infonce``."""
    v = Views(views, temperature, candidates, offset, decoupled=False)
    rows, columns = _others_mean(v.rows), _others_mean(v.columns)
    terms = [
        nt_xent(
            v.rows[view],
            rows[view],
            temperature=temperature,
            candidates=None if v.local else (v.columns[view], columns[view]),
            offset=offset,
            normalize=False,
        )
        for view in range(v.num_views)
    ]
    return torch.stack(terms).mean(0)


def average_dhel(
    views: Tensor, *, temperature: float | Tensor = 0.5, candidates: Tensor | None = None, offset: int = 0
) -> Tensor:
    """The two-view DHEL of each view with the re-normalised mean of the others, averaged. As in ``mv_infonce``."""
    v = Views(views, temperature, candidates, offset)
    means = Views(_others_mean(v.rows), temperature, None if v.local else _others_mean(v.columns), offset)
    positive = (v.rows * means.rows).sum(-1) * v.scale
    return (v.within() + means.within() - positive).mean(0)


def _others_mean(rows: Tensor) -> Tensor:
    """[V, n, D]: for each view, the mean of the other views."""
    return (rows.sum(0, keepdim=True) - rows) / (len(rows) - 1)
