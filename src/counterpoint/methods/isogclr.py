"""iSogCLR (arXiv 2305.11965): global contrast with a learned temperature for every image; SogCLR with one for all.

    F = mean_i [ tau_i log E_{z of other images} e^{h_i(z)/tau_i} + tau_i rho ],  tau_i in [lowest, highest]

With ``bimodal`` an image's partner is a vector of another modality, such as its caption's embedding, and both sides have
temperatures. A moving average per image stands for the expectation over the whole data set, so small batches do. Each temperature
descends its own gradient: images of frequent semantics end warm, those of rare ones cold. Averages, temperatures and
their momenta live in the Run; the temperatures are saved with the model as ``temperatures.csv``, for looking at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.images.paired import paired
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.objectives.contrast.global_contrast import Robust, descend, robust_pairs, robust_views
from counterpoint.pairs.caption_vectors import with_partners
from counterpoint.pairs.repeats import partner_repeats
from counterpoint.pairs.views import Augmentation, augmentation, gather_views
from counterpoint.training import Optimizer, PerSample, Run


@dataclass(kw_only=True)
class ISogCLR(Method[nn.Module, Images]):
    """Settings of iSogCLR.

    Attributes:
        bimodal: pair every image with its caption, or with a vector given beside it (``captions=``, ``partners=`` of the data),
            instead of with a second view; a temperature for each side.
        individual: learn a temperature per image; False keeps ``temperature`` for all, which is SogCLR.
        temperature: where every temperature starts. lowest, highest: its bounds.
        rho: the KL budget that pulls temperatures down.
        gamma: weight of the new estimate in the per-image average.
        temperature_rate, temperature_beta: step, and weight of the new gradient, of the temperatures' momentum descent;
            each moves once per epoch, so a short run needs a larger step.
        batch_size, epochs, optimizer, learning_rate, dim, norm, augmentation: as in ``dcl``.
        mask_repeats: with ``bimodal``, as in ``clip``: pairs whose captions are equal are no negatives of one another.
    """

    key: ClassVar[str] = "isogclr"
    full_batches: ClassVar[bool] = True
    search: ClassVar[Search] = {"temperature": (0.05, 0.5), "learning_rate": (0.03, 3.0)}
    ablations: ClassVar[Ablations] = {
        "one temperature for all": {"individual": False},
        "temperatures without a budget": {"rho": 0.0},
        "without running averages": {"gamma": 1.0},
    }

    bimodal: bool = False
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
    mask_repeats: bool = True

    def fit(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Train and return the encoder with its projector, or both towers."""
        if not self.lowest <= self.temperature <= self.highest:
            raise CounterpointError(
                f"temperature={self.temperature} lies outside [lowest={self.lowest}, highest={self.highest}]; start inside"
            )
        return self._pairs(model, data, run) if self.bimodal else self._views(model, data, run)

    def _views(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Two views of every image; the negatives are both views of all others."""
        draw = augmentation(self.augmentation, data.shape)
        net = run.state(model=projected(model, dim=self.dim, norm=self.norm, seed=run.seed))
        memory = run.state(memory=self._memory(len(data.train), ("image",)))
        run.optimize(net, self._rule())
        for batch in run.batches(data.train.pixels, self.batch_size, epochs=self.epochs, drop_last=True):
            z_VBD = run.forward(net, draw.views(batch.items, batch.random, 2), project=True).unflatten(
                0, (2, -1)
            )
            all_VBD = gather_views(z_VBD, run)
            index = batch.index.to(run.device)
            log_average = memory.read("image_log_average", index)
            seen = robust_views(
                z_VBD[0],
                z_VBD[1],
                memory.read("image_temperature", index),
                log_average,
                gamma=self.gamma,
                rho=self.rho,
                fresh=log_average == -math.inf,
                candidates=None if all_VBD is None else (all_VBD[0], all_VBD[1]),
                offset=run.row_offset,
            )
            run.step(seen.values)
            self._move(run, memory, index, "image", seen, clip=3.0)
        run.report(temperatures=coldest_first(data, image=memory.get_buffer("image_temperature")))
        return net

    def _pairs(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """One view of every image and its partner; each side's negatives are the other side's rows."""
        repeats = partner_repeats(data) if self.mask_repeats else None
        data = with_partners(data)
        assert data.train.partners is not None
        draw = augmentation(self.augmentation, data.shape)
        net = run.state(
            model=paired(model, data.train.partners.shape[1], dim=self.dim, norm=self.norm, seed=run.seed)
        )
        memory = run.state(memory=self._memory(len(data.train), ("image", "partner")))
        run.optimize(net, self._rule())
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs, drop_last=True):
            views = draw.views(batch.items.pixels, batch.random, 1)
            z, t = run.forward(net, views, batch.items.partners)
            index = batch.index.to(run.device)
            equal = None if repeats is None else run.gather_constant(repeats[batch.index].to(run.device))
            seen = {
                side: robust_pairs(
                    mine,
                    theirs,
                    memory.read(f"{side}_temperature", index),
                    memory.read(f"{side}_log_average", index),
                    gamma=self.gamma,
                    rho=self.rho,
                    candidates=None if run.world == 1 else run.gather(theirs),
                    offset=run.row_offset,
                    repeats=equal,
                )
                for side, mine, theirs in (("image", z, t), ("partner", t, z))
            }
            run.step({side: side_terms.values for side, side_terms in seen.items()})
            for side, side_terms in seen.items():
                self._move(run, memory, index, side, side_terms, clip=5.0)
        both = {side: memory.get_buffer(f"{side}_temperature") for side in ("image", "partner")}
        run.report(temperatures=coldest_first(data, **both))
        return net

    def _memory(self, count: int, sides: tuple[str, ...]) -> PerSample:
        start = {"temperature": self.temperature, "log_average": -math.inf, "momentum": 0.0}
        return PerSample(
            count,
            **{f"{side}_{name}": torch.tensor(value) for side in sides for name, value in start.items()},
        )

    def _rule(self) -> Optimizer:
        return Optimizer(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=1e-4,
            schedule="cosine",
            warmup=0.025,
        )

    def _move(self, run: Run, memory: PerSample, index: Tensor, side: str, seen: Robust, clip: float) -> None:
        """Store a side's averages and move its temperatures."""
        new, momentum = memory.read(f"{side}_temperature", index), memory.read(f"{side}_momentum", index)
        if self.individual:
            new, momentum = descend(
                new, momentum, seen.temperature_gradient, step=self.temperature_rate, beta=self.temperature_beta,
                clip=clip, low=self.lowest, high=self.highest,
            )  # fmt: skip
        spread = float(new.std()) if len(new) > 1 else 0.0
        run.log(**{f"{side}_temperature": float(new.mean()), f"{side}_temperature_spread": spread})
        values = {"temperature": new, "log_average": seen.log_average, "momentum": momentum}
        # Every rank keeps the whole table, so every rank writes all ranks' rows.
        rows = run.gather_constant(index)
        memory.write(rows, **{f"{side}_{name}": run.gather_constant(value) for name, value in values.items()})


def coldest_first(data: Images, image: Tensor, partner: Tensor | None = None) -> dict[str, list[Any]]:
    """Every training image's row, label, learned temperatures and caption, from the rarest semantics to the commonest."""
    order = torch.argsort(image.cpu(), stable=True)
    columns = {"temperature": image, **({} if partner is None else {"partner_temperature": partner})}
    captions = data.train.captions
    return {
        "row": order.tolist(),
        "label": data.train.labels[order].tolist(),
        **{name: [round(tau, 6) for tau in tau_N.cpu()[order].tolist()] for name, tau_N in columns.items()},
        **({} if captions is None else {"caption": ["; ".join(captions[row]) for row in order.tolist()]}),
    }
