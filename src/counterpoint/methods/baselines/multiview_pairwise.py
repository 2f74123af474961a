"""The common practice for more than two views: a two-view loss averaged over all pairs of views (arXiv 2507.06979, PWE).

The baseline of ``multiview``: every view gets several competing terms, and no term sees all views at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.methods.base import Method, Search
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.objectives.contrast.multiview import (
    average_dhel,
    average_nt_xent,
    pairwise_dhel,
    pairwise_nt_xent,
)
from counterpoint.pairs.views import Augmentation, augmentation, gather_views
from counterpoint.training import Optimizer, Run

LOSSES: dict[str, Callable[..., Tensor]] = {
    "nt_xent": pairwise_nt_xent,
    "dhel": pairwise_dhel,
    "nt_xent_average": average_nt_xent,
    "dhel_average": average_dhel,
}


@dataclass(kw_only=True)
class MultiViewPairwise(Method[nn.Module, Images]):
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
    full_batches: ClassVar[bool] = True
    search: ClassVar[Search] = {"temperature": (0.05, 1.0), "learning_rate": (0.03, 3.0)}

    loss: Literal["nt_xent", "dhel", "nt_xent_average", "dhel_average"] = "nt_xent"
    num_views: int = 4
    temperature: float = 0.5
    batch_size: int = 256
    epochs: float = 200
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 1.0
    weight_decay: float = 1e-6
    warmup: float = 0.01
    hidden: int = 0
    dim: int = 128
    norm: HeadNorm = "auto"
    augmentation: str | Augmentation = "auto"

    def fit(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Train and return the encoder with its projector."""
        draw = augmentation(self.augmentation, data.shape)
        net = run.state(
            model=projected(model, hidden=self.hidden, dim=self.dim, norm=self.norm, seed=run.seed)
        )
        run.optimize(
            net,
            Optimizer(
                name=self.optimizer,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                schedule="cosine",
                warmup=self.warmup,
            ),
        )
        for batch in run.batches(data.train.pixels, self.batch_size, epochs=self.epochs, drop_last=True):
            views = draw.views(batch.items, batch.random, self.num_views)
            z_VBD = run.forward(net, views, project=True).unflatten(0, (self.num_views, -1))
            all_ranks = gather_views(z_VBD, run)
            loss = LOSSES[self.loss]
            run.step(loss(z_VBD, temperature=self.temperature, candidates=all_ranks, offset=run.row_offset))
        return net
