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

from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.objectives.contrast.multiview import mv_dhel, mv_infonce, poly_view
from counterpoint.pairs.views import Augmentation, augmentation, gather_views
from counterpoint.training import Optimizer, Run

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mv_dhel": mv_dhel,
    "mv_infonce": mv_infonce,
    "mv_dhel_printed": partial(mv_dhel, printed=True),
    "mv_infonce_printed": partial(mv_infonce, printed=True),
    "pvc_geometric": partial(poly_view, mean="geometric"),
    "pvc_arithmetic": partial(poly_view, mean="arithmetic"),
}


@dataclass(kw_only=True)
class MultiView(Method[nn.Module, Images]):
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
    full_batches: ClassVar[bool] = True
    search: ClassVar[Search] = {"temperature": (0.05, 1.0), "learning_rate": (0.03, 3.0)}
    ablations: ClassVar[Ablations] = {
        "alignment and uniformity coupled": {"loss": "mv_infonce"},
        "pairs of views, averaged": {"loss": "pvc_arithmetic"},
    }

    loss: Literal[
        "mv_dhel", "mv_infonce", "mv_dhel_printed", "mv_infonce_printed", "pvc_geometric", "pvc_arithmetic"
    ] = "mv_dhel"
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
