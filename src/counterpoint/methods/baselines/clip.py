"""CLIP's contrast (arXiv 2103.00020, section 2.3): an image and its text find each other among the batch's, both ways.

    l_i = -1/2 log e^{s(z_i, t_i)/tau} / sum_j e^{s(z_i, t_j)/tau} - 1/2 log e^{s(z_i, t_i)/tau} / sum_j e^{s(z_j, t_i)/tau}

One temperature for all pairs, learned as the logarithm of its inverse, or fixed. The text encoder stays as it is: its vectors,
or any others that lie beside the images, are projected; the image encoder and both projectors are trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method, Search
from counterpoint.models.images.paired import Temperature, paired
from counterpoint.models.images.projector import HeadNorm
from counterpoint.objectives.contrast.infonce import symmetric_info_nce
from counterpoint.pairs.caption_vectors import with_partners
from counterpoint.pairs.repeats import partner_repeats
from counterpoint.pairs.views import Augmentation, augmentation
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class CLIP(Method[nn.Module, Images]):
    """Settings of CLIP's contrast.

    Attributes:
        temperature: tau, or where it starts.
        learnable: learn it with the weights.
        lowest: what a learned temperature does not fall below.
        batch_size: pairs per step; the negatives are the others of the batch.
        epochs: passes over the images when the run has no budget.
        optimizer, learning_rate, weight_decay, warmup: of the optimiser, with a cosine schedule.
        dim, norm: of the projectors.
        augmentation: of the images; as in ``dcl``.
        mask_repeats: pairs of a batch whose captions (or partners' vectors) are equal are no negatives of one another; False counts
            them, as the paper does.
    """

    key: ClassVar[str] = "clip"
    full_batches: ClassVar[bool] = True
    search: ClassVar[Search] = {"temperature": (0.01, 0.5), "learning_rate": (1e-4, 1e-2)}

    temperature: float = 0.07
    learnable: bool = True
    lowest: float = 0.01
    batch_size: int = 256
    epochs: float = 32
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 5e-4
    weight_decay: float = 0.2
    warmup: float = 0.1
    dim: int = 128
    norm: HeadNorm = "auto"
    augmentation: str | Augmentation = "auto"
    mask_repeats: bool = True

    def fit(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Train and return both towers."""
        if not 0 < self.lowest <= self.temperature:
            raise CounterpointError(
                f"temperature={self.temperature}, lowest={self.lowest}; expected 0 < lowest <= temperature"
            )
        repeats = partner_repeats(data) if self.mask_repeats else None
        data = with_partners(data)
        assert data.train.partners is not None
        draw = augmentation(self.augmentation, data.shape)
        towers = paired(model, data.train.partners.shape[1], dim=self.dim, norm=self.norm, seed=run.seed)
        # The temperature travels with the towers while they learn and is left behind with the loss.
        net = run.state(
            model=nn.ModuleDict({"towers": towers, "tau": Temperature(self.temperature, self.lowest)})
        )
        net["tau"].requires_grad_(self.learnable)
        rule = Optimizer(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule="cosine",
            warmup=self.warmup,
        )
        run.optimize(net, rule)
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs, drop_last=True):
            views = draw.views(batch.items.pixels, batch.random, 1)
            z, t = run.forward(net["towers"], views, batch.items.partners)
            tau = net["tau"]()
            all_rows = None if run.world == 1 else (run.gather(z), run.gather(t))
            run.step(
                symmetric_info_nce(
                    z,
                    t,
                    temperature=tau,
                    candidates=all_rows,
                    offset=run.row_offset,
                    repeats=None
                    if repeats is None
                    else run.gather_constant(repeats[batch.index].to(run.device)),
                )
            )
            run.log(temperature=float(tau.detach()))
        return net["towers"]
