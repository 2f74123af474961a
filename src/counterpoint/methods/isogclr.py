"""iSogCLR (arXiv 2305.11965): global contrast with a learned temperature for every image; SogCLR with one for all.

    F = mean_i [ tau_i log E_{z of other images} e^{h_i(z)/tau_i} + tau_i rho ],  tau_i in [lowest, highest]

A moving average per image stands for the expectation over the whole data set, so small batches do. Each temperature
descends its own gradient: images of frequent semantics end warm, those of rare ones cold. Averages, temperatures and
their momenta live in the Run; the temperatures are saved with the model as ``temperatures.csv``, for looking at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.images import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Method
from counterpoint.models.projector import HeadNorm, projected
from counterpoint.objectives.robust import descend, robust_views
from counterpoint.pairs.views import Augmentation, augmentation, everyone
from counterpoint.training import Optimizer, PerSample, Run


@dataclass(kw_only=True)
class ISogCLR(Method):
    """Settings of iSogCLR.

    Attributes:
        individual: learn a temperature per image; False keeps ``temperature`` for all, which is SogCLR.
        temperature: where every temperature starts. lowest, highest: its bounds.
        rho: the KL budget that pulls temperatures down.
        gamma: weight of the new estimate in the per-image average.
        temperature_rate, temperature_beta: step, and weight of the new gradient, of the temperatures' momentum descent;
            each moves once per epoch, so a short run needs a larger step.
        batch_size, epochs, optimizer, learning_rate, dim, norm, augmentation: as in ``dcl``.
    """

    key: ClassVar[str] = "isogclr"
    search: ClassVar[dict[str, Any]] = {"temperature": (0.05, 0.5), "learning_rate": (0.03, 3.0)}

    individual: bool = True
    temperature: float = 0.1
    lowest: float = 0.05
    highest: float = 1.0
    rho: float = 0.4
    gamma: float = 0.8
    temperature_rate: float = 0.03
    temperature_beta: float = 0.5
    batch_size: int = 128
    epochs: float = 400
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.8
    dim: int = 128
    norm: HeadNorm = "auto"
    augmentation: str | Augmentation = "auto"

    def fit(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Train and return the encoder with its projector."""
        if not self.lowest <= self.temperature <= self.highest:
            raise CounterpointError(
                f"temperature={self.temperature} lies outside [lowest={self.lowest}, highest={self.highest}]; start inside"
            )
        draw = augmentation(self.augmentation, data.shape)
        net = run.state(model=projected(model, dim=self.dim, norm=self.norm, seed=run.seed))
        memory = run.state(
            memory=PerSample(
                len(data.train),
                temperature=torch.tensor(self.temperature),
                log_average=torch.tensor(-math.inf),
                momentum=torch.tensor(0.0),
            )
        )
        rule = Optimizer(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=1e-4,
            schedule="cosine",
            warmup=0.025,
        )
        run.optimize(net, rule)
        for batch in run.batches(data.train.pixels, self.batch_size, epochs=self.epochs, drop_last=True):
            z_VBD = run.forward(net, draw.views(batch.items, batch.random, 2), project=True).unflatten(
                0, (2, -1)
            )
            all_VBD = everyone(z_VBD, run)
            index = batch.index.to(run.device)
            tau = memory.read("temperature", index)
            seen = robust_views(
                z_VBD[0],
                z_VBD[1],
                tau,
                memory.read("log_average", index),
                gamma=self.gamma,
                rho=self.rho,
                fresh=memory.read("log_average", index) == -math.inf,
                candidates=None if all_VBD is None else (all_VBD[0], all_VBD[1]),
                offset=run.row_offset,
            )
            run.step(seen.values)
            new, momentum = tau, memory.read("momentum", index)
            if self.individual:
                new, momentum = descend(
                    tau, momentum, seen.temperature_gradient,
                    step=self.temperature_rate, beta=self.temperature_beta, low=self.lowest, high=self.highest,
                )  # fmt: skip
            run.log(
                temperature=float(new.mean()), temperature_spread=float(new.std()) if len(new) > 1 else 0.0
            )
            # Every rank keeps the whole table, so every rank writes all ranks' rows.
            rows = run.gather_constant(index)
            memory.write(
                rows,
                temperature=run.gather_constant(new),
                log_average=run.gather_constant(seen.log_average),
                momentum=run.gather_constant(momentum),
            )
        net.tables = {"temperatures": coldest_first(memory.get_buffer("temperature"), data)}
        return net


def coldest_first(temperature: Tensor, data: Images) -> dict[str, list[float]]:
    """Every training image's row, label and learned temperature, from the rarest semantics to the commonest."""
    order = torch.argsort(temperature.cpu(), stable=True)
    return {
        "row": order.tolist(),
        "label": data.train.labels[order].tolist(),
        "temperature": [round(tau, 6) for tau in temperature.cpu()[order].tolist()],
    }
