"""Multi-view contrastive learning (arXiv 2507.06979): all views of an image in one term, with more than two views.

MV-DHEL, with ``s`` a cosine over tau and V views:

    l_i = sum_l log sum_{j != i} e^{s(i,l; j,l)}  -  log sum_{l < m} e^{s(i,l; i,m)}

Alignment is across the views of an image, uniformity inside each view, so the two do not work against each other and
the embedding keeps its dimensions. MV-InfoNCE and the poly-view baseline (arXiv 2403.05490) are settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from counterpoint.methods.many_views import ManyViews
from counterpoint.objectives.contrast.multiview import mv_dhel, mv_infonce, poly_view

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mv_dhel": mv_dhel,
    "mv_infonce": mv_infonce,
    "mv_dhel_printed": partial(mv_dhel, printed=True),
    "mv_infonce_printed": partial(mv_infonce, printed=True),
    "pvc_geometric": partial(poly_view, mean="geometric"),
    "pvc_arithmetic": partial(poly_view, mean="arithmetic"),
}


@dataclass(kw_only=True)
class MultiView(ManyViews):
    """Settings of multi-view contrast; shapes: V views, B images, D dimensions.

    Attributes:
        loss: "mv_dhel" or "mv_infonce" as their code trains them, their "_printed" formulas, or a poly-view baseline.
        num_views: V, at least 2.
        temperature: tau.
        batch_size: images per step, each seen in V views.
        epochs: passes over the images when the run has no budget.
        optimizer, learning_rate, weight_decay, warmup: of the optimiser, with a cosine schedule.
        hidden, dim, norm: of the projector; hidden 0 means the features' width.
        augmentation: "auto", "small", "digits", "natural", or an ``Augmentation``.
    """

    key: ClassVar[str] = "multiview"
    losses = LOSSES

    loss: Literal[
        "mv_dhel", "mv_infonce", "mv_dhel_printed", "mv_infonce_printed", "pvc_geometric", "pvc_arithmetic"
    ] = "mv_dhel"
