"""What methods that contrast several views of an image share: their settings beside the loss, and the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.methods.base import Method
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.pairs.views import Augmentation, augmentation, everyone
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class ManyViews(Method[nn.Module, Images]):
    """A method is its losses, by name: ``loss(z_VBD, temperature=, candidates=, offset=) -> [B]``. V views, B images, D wide."""

    search: ClassVar[dict[str, Any]] = {"temperature": (0.05, 1.0), "learning_rate": (0.03, 3.0)}
    losses: ClassVar[Mapping[str, Callable[..., Tensor]]]

    loss: str
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
            run.step(
                self.losses[self.loss](
                    z_VBD,
                    temperature=self.temperature,
                    candidates=everyone(z_VBD, run),
                    offset=run.row_offset,
                )
            )
        return net
