"""SupReMix (arXiv 2309.16633): representations in the order of a numeric target, from pairs mixed out of the batch.

    l_i = log D_i - (1/|A_i|) sum_{p in A_i} v_i.p / tau

Contrast made for classes ignores that targets are ordered, and its pairs are easy. Mixing an anchor with a row of another
target gives a hard negative; mixing a row below with a row above, so that the target comes out as the anchor's, gives a
hard positive; and the further apart two targets are, the more their pair weighs. At the end a ridge regression on the
features becomes the model's head. Switching everything off leaves SupCon on targets as classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.regression import with_head
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.models.regression.tabular import Predictor
from counterpoint.objectives.labels.mixed_pairs import mixed_pairs
from counterpoint.pairs.table_views import input_views
from counterpoint.pairs.views import Augmentation, Random, gather_views
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class SupReMix(Method[nn.Module, Regression]):
    """Settings of SupReMix; shapes: B rows, 2 views, N rows of the global batch, D dimensions.

    Attributes:
        temperature: tau.
        window: how far from the anchor's target the two parts of a mixed positive may be, in the target's units.
        mix_negatives, mix_positives: which mixtures to make; neither leaves (weighted) SupCon.
        weighted: weigh pairs by 1 + the distance of their targets.
        beta: whole numbers (a, b) of the Beta distribution of the anchor's share in a mixed negative.
        detach: mixtures are constants for the gradient, as in the authors' code.
        bin_width: targets are rounded to multiples of it; 0 leaves them as they are. Rows of one target attract.
        batch_size, epochs, optimizer, learning_rate: of the training; the rate falls by ten at one half and three quarters.
        hidden, dim, norm: of the projector; hidden 0 means the features' width.
        dropout: share of a table's columns hidden in each view.
        augmentation: of images: "auto", a preset or "none". The usual one turns, zooms and shifts; where the target is an
            angle or a size, give one that leaves it alone, such as "light".
    """

    key: ClassVar[str] = "supremix"
    search: ClassVar[Search] = {"temperature": (0.05, 1.0), "learning_rate": (3e-4, 3e-3)}
    ablations: ClassVar[Ablations] = {
        "without mixed negatives": {"mix_negatives": False},
        "without mixed positives": {"mix_positives": False},
        "unweighted": {"weighted": False},
        "gradient through the mixed": {"detach": False},
    }

    temperature: float = 0.5
    window: float = 5.0
    mix_negatives: bool = True
    mix_positives: bool = True
    weighted: bool = True
    beta: tuple[int, int] = (2, 8)
    detach: bool = True
    bin_width: float = 0.0
    batch_size: int = 128
    epochs: float = 100
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    hidden: int = 0
    dim: int = 128
    norm: HeadNorm = "auto"
    dropout: float = 0.3
    augmentation: str | Augmentation = "auto"

    def fit(self, model: nn.Module, data: Regression, run: Run) -> nn.Module:
        """Train the encoder and return it with a ridge head."""
        if self.window <= 0 or self.bin_width < 0:
            raise CounterpointError(
                f"window={self.window}, bin_width={self.bin_width}; expected a window above 0 and a width of at least 0, in the "
                "target's units"
            )
        encoder = model.encoder if isinstance(model, Predictor) else model
        net = run.state(
            model=projected(encoder, hidden=self.hidden, dim=self.dim, norm=self.norm, seed=run.seed)
        )
        middle = data.train.inputs.mean(0) if data.columns else None
        run.optimize(net, Optimizer(name=self.optimizer, learning_rate=self.learning_rate, schedule="steps"))
        for batch in run.batches(
            data.train, self.batch_size, epochs=self.epochs, drop_last=len(data.train) >= self.batch_size
        ):
            views = input_views(
                batch.items.inputs,
                batch.random,
                2,
                dropout=self.dropout,
                middle=middle,
                image=self.augmentation,
            )
            z_VBD = run.forward(net, views, project=True).unflatten(0, (2, -1))
            own, y = batch.offset, self._rounded(batch.items.targets)
            all_VND = gather_views(z_VBD, run)
            y_all = y if all_VND is None else run.gather_constant(y)
            count = len(y_all)
            places = torch.cat(
                [torch.arange(len(y), device=y.device) + own + view * count for view in (0, 1)]
            )
            loss = mixed_pairs(
                z_VBD.flatten(0, 1),
                y.repeat(2),
                temperature=self.temperature,
                alpha=self._shares(batch.random, 2 * count) if self.mix_negatives else None,
                window=self.window if self.mix_positives else None,
                weighted=self.weighted,
                detach=self.detach,
                tolerance=1e-6,
                candidates=None if all_VND is None else all_VND.flatten(0, 1),
                candidate_values=None if all_VND is None else y_all.repeat(2),
                offset=places,
            )
            run.step(loss)
        return with_head(net.encoder, data)

    def _rounded(self, targets: Tensor) -> Tensor:
        return (targets / self.bin_width).round() * self.bin_width if self.bin_width else targets

    def _shares(self, random: Random, columns: int) -> Tensor:
        """[2B, columns] draws of Beta(a, b): the a-th smallest of a + b - 1 uniform numbers is one."""
        a, b = self.beta
        if a < 1 or b < 1:
            raise CounterpointError(
                f"beta={self.beta}; expected two whole numbers of at least 1, such as (2, 8)"
            )
        drawn = random.uniform(2, columns, a + b - 1).transpose(0, 1).flatten(0, 1)
        return drawn.kthvalue(a, dim=2).values
