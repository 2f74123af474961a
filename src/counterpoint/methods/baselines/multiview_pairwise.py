"""The common practice for more than two views: a two-view loss averaged over all pairs of views (arXiv 2507.06979, PWE).

The baseline of ``multiview``: every view gets several competing terms, and no term sees all views at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from counterpoint.methods.many_views import ManyViews
from counterpoint.objectives.contrast.multiview import (
    average_dhel,
    average_nt_xent,
    pairwise_dhel,
    pairwise_nt_xent,
)

LOSSES: dict[str, Callable[..., Tensor]] = {
    "nt_xent": pairwise_nt_xent,
    "dhel": pairwise_dhel,
    "nt_xent_average": average_nt_xent,
    "dhel_average": average_dhel,
}


@dataclass(kw_only=True)
class MultiViewPairwise(ManyViews):
    """Settings of pairwise multi-view contrast; shapes: V views, B images, D dimensions.

    Attributes:
        loss: "nt_xent" or "dhel" over pairs of views, or "_average": each view against the mean of the others.
        num_views: V, at least 2.
        temperature: tau.
        batch_size: images per step, each seen in V views.
        epochs: passes over the images when the run has no budget.
        optimizer, learning_rate, weight_decay, warmup: of the optimiser, with a cosine schedule.
        hidden, dim, norm: of the projector; hidden 0 means the features' width.
        augmentation: "auto", "small", "digits", "natural", or an ``Augmentation``.
    """

    key: ClassVar[str] = "multiview-pairwise"
    losses = LOSSES

    loss: Literal["nt_xent", "dhel", "nt_xent_average", "dhel_average"] = "nt_xent"
