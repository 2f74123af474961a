"""Plain regression: an encoder and a linear head trained on the error of their predictions. What supremix is compared with.

l_i = |f(x_i) - y_i|  or  (f(x_i) - y_i)^2,    targets standardised
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from counterpoint.data.regression.splits import Regression
from counterpoint.methods.base import Method, Search
from counterpoint.models.regression.tabular import Predictor
from counterpoint.pairs.table_views import input_views
from counterpoint.pairs.views import Augmentation
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class PlainRegression(Method[nn.Module, Regression]):
    """Settings of plain regression.

    Attributes:
        loss: "l1" or "l2".
        batch_size, epochs, optimizer, learning_rate, weight_decay: of the training; cosine schedule.
        dropout: share of a table's columns hidden at random, as in ``supremix``.
        augmentation: of images: "auto", a preset or "none". The usual one turns, zooms and shifts; where the target is an
            angle or a size, give one that leaves it alone, such as "light".
    """

    key: ClassVar[str] = "regression"
    search: ClassVar[Search] = {"learning_rate": (3e-4, 3e-2), "dropout": [0.0, 0.1, 0.3]}

    loss: Literal["l1", "l2"] = "l1"
    batch_size: int = 128
    epochs: float = 100
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    dropout: float = 0.3
    augmentation: str | Augmentation = "auto"

    def fit(self, model: nn.Module, data: Regression, run: Run) -> nn.Module:
        """Train and return the encoder with its head; a model that brings a head goes on from it."""
        y = data.train.targets
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            start = (
                model
                if isinstance(model, Predictor)
                else Predictor(model, float(y.mean()), float(y.std()), (data.offset, data.scale))
            )
        # A model that was just opened or measured is in evaluation mode, in which batch normalisation would not train.
        net = run.state(model=start.train())
        middle = data.train.inputs.mean(0) if data.columns else None
        rule = Optimizer(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule="cosine",
        )
        run.optimize(net, rule)
        # Errors in units of the targets' deviation, so that one learning rate serves years as well as euros.
        scale = float(y.std())
        for batch in run.batches(
            data.train, self.batch_size, epochs=self.epochs, drop_last=len(data.train) >= self.batch_size
        ):
            rows = input_views(
                batch.items.inputs,
                batch.random,
                1,
                dropout=self.dropout,
                middle=middle,
                image=self.augmentation,
            )
            error = (run.forward(net, rows, predict=True) - batch.items.targets) / scale
            run.step(error.abs() if self.loss == "l1" else error**2)
        return net
