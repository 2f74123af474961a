"""SimCLR (arXiv 2002.05709): two views of an image find each other among all views of the batch, NT-Xent (eq. 1).

    l_i = -log e^{s(z_i, z_i')/tau} / sum_{other views a of the batch} e^{s(z_i, a)/tau}

The projector is trained on, the encoder before it is kept. The multiplier q that dcl removes is logged along the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from counterpoint.data.images.load import Images
from counterpoint.evaluation.coupling import Coupling
from counterpoint.methods.base import Method, Search
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.objectives.contrast.infonce import nt_xent
from counterpoint.pairs.views import Augmentation, augmentation, gather_views
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class SimCLR(Method[nn.Module, Images]):
    """Settings of SimCLR; shapes: B images, 2 views, D dimensions.

    Attributes:
        temperature: tau.
        batch_size: images per step, each seen in two views.
        epochs: passes over the images when the run has no budget.
        optimizer, learning_rate, weight_decay, warmup: of the optimiser, with a cosine schedule.
        hidden, dim, norm: of the projector; hidden 0 means the features' width.
        augmentation: "auto", "small", "digits", "natural", or an ``Augmentation``.
    """

    key: ClassVar[str] = "simclr"
    full_batches: ClassVar[bool] = True
    search: ClassVar[Search] = {"temperature": (0.05, 1.0), "learning_rate": (0.03, 3.0)}

    temperature: float = 0.1
    batch_size: int = 256
    epochs: float = 100
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.3
    weight_decay: float = 1e-6
    warmup: float = 0.1
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
        coupling = run.state(coupling=Coupling())
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
            views = draw.views(batch.items, batch.random, 2)
            z_VBD = run.forward(net, views, project=True).unflatten(0, (2, -1))
            all_VBD = gather_views(z_VBD, run)
            if batch.step % 10 == 0:
                seen = z_VBD if all_VBD is None else all_VBD
                run.log(npc_multiplier=coupling.update(*seen.detach().unbind(), self.temperature))
            others = None if all_VBD is None else (all_VBD[0], all_VBD[1])
            run.step(
                nt_xent(
                    *z_VBD.unbind(), temperature=self.temperature, candidates=others, offset=run.row_offset
                )
            )
        run.report(npc_multiplier=coupling.mean)
        return net
