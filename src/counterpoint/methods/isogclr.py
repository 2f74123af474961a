"""iSogCLR (arXiv 2305.11965): global contrast with a learned temperature for every image; SogCLR with one for all.

    F = mean_i [ tau_i log E_{z of other images} e^{h_i(z)/tau_i} + tau_i rho ],  tau_i in [lowest, highest]

With ``bimodal`` an image's partner is a vector of another modality, such as its caption's embedding, and both sides have
temperatures. A moving average per image stands for the expectation over the whole data set, so small batches do. Each temperature
descends its own gradient: images of frequent semantics end warm, those of rare ones cold. Averages, temperatures and
their momenta live in the Run; the temperatures are saved with the model as ``temperatures.csv``, for looking at. On pairs of
sentences (settings ``sentences``) a text encoder is trained: anchors and positives are the two modalities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.sentences import Sentences, refuse_settings
from counterpoint.models.images.paired import paired
from counterpoint.models.images.projector import HeadNorm, projected
from counterpoint.objectives.contrast.global_contrast import Robust, descend, robust_pairs, robust_views
from counterpoint.objectives.contrast.robust_sentences import robust_sentences
from counterpoint.pairs.caption_vectors import with_partners
from counterpoint.pairs.repeats import partner_repeats
from counterpoint.pairs.views import Augmentation, augmentation, gather_views
from counterpoint.phases.sentence_pairs.training import refuse_form
from counterpoint.training import Optimizer, PerSample, Run

SHARED = ("individual", "highest", "rho", "gamma", "temperature_rate", "temperature_beta")
"""What counts on images and on sentences."""


@dataclass
class GlobalSentences(Sentences):
    """Global contrast of sentences, as a group of settings.

    Attributes:
        lowest: lower bound of the temperatures; cosines of sentences lie close together.
        temperature: where every temperature starts. batch_size: of full batches alone. Others as of ``Sentences``.
    """

    lowest: float = 0.01


@dataclass(kw_only=True)
class ISogCLR(Method[nn.Module, Images | SentencePairs]):
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
        sentences: of the training on pairs of sentences, which reads what both share and these alone.
    """

    key: ClassVar[str] = "isogclr"
    full_batches: ClassVar[bool] = True
    also: ClassVar[tuple[str, ...]] = ("sentence-pairs",)
    contrasts: ClassVar[dict[str, str]] = {"sentence-pairs": "sentences.batch_size"}
    search_of: ClassVar[dict[str, Search]] = {
        "sentence-pairs": {"sentences.temperature": (0.01, 0.2), "sentences.learning_rate": (1e-6, 1e-3)}
    }
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
    sentences: GlobalSentences = field(default_factory=GlobalSentences)

    def check(self, data: Images | SentencePairs) -> None:
        """Refuse scored pairs, batches of one pair, settings of the other kind, and a start outside the bounds."""
        sentences = isinstance(data, SentencePairs)
        refuse_settings(self.key, self.changed(), shared=SHARED, sentences=sentences, group=GlobalSentences)
        group: Any = self.sentences if sentences else self
        name = "sentences." if sentences else ""
        if not group.lowest <= group.temperature <= self.highest:
            raise CounterpointError(
                f"{self.key}: {name}temperature={group.temperature} lies outside [{name}lowest={group.lowest}, highest={self.highest}]; start inside"
            )
        if isinstance(data, SentencePairs):
            refuse_form(self.key, data, scored=False)
            self.demand(above_zero=["sentences.lowest"])
            if group.batch_size < 2:
                raise CounterpointError(
                    f"{self.key}: sentences.batch_size={group.batch_size}; a positive is set against the other anchors of its batch: give at "
                    "least 2, such as --sentences.batch-size 16"
                )

    def fit(self, model: nn.Module, data: Images | SentencePairs, run: Run) -> nn.Module:
        """Train and return the encoder with its projector, or both towers; of sentences, the encoder."""
        self.check(data)
        if isinstance(data, SentencePairs):
            return self._sentences(model, data, run)
        return self._pairs(model, data, run) if self.bimodal else self._views(model, data, run)

    def _sentences(self, model: nn.Module, data: SentencePairs, run: Run) -> nn.Module:
        """Anchors against positives and hard negatives, positives against anchors."""
        own, sides = self.sentences, ("anchor", "positive")
        encoder = own.applied(model)
        memory = run.state(memory=self._memory(len(data.train), sides, own.temperature))
        for batch in own.batches(run, encoder, data, drop_last=True):
            tau_a, tau_p, average_a, average_p = (
                memory.read(f"{side}_{name}", batch.index)
                for name in ("temperature", "log_average")
                for side in sides
            )
            seen = robust_sentences(
                batch.anchors,
                batch.positives,
                batch.negatives,
                temperatures=(tau_a, tau_p),
                log_averages=(average_a, average_p),
                gamma=self.gamma,
                rho=self.rho,
                candidates=batch.candidates,
                offset=batch.offset,
                texts=batch.texts,
            )
            run.step({side: terms.values for side, terms in zip(sides, seen, strict=True)})
            for side, terms in zip(sides, seen, strict=True):
                self._move(run, memory, batch.index, side, terms, clip=5.0, lowest=own.lowest)
        tau = {f"{side}_temperature": memory.get_buffer(f"{side}_temperature") for side in sides}
        texts = {"anchor": data.train.anchors, "positive": data.train.positives}
        run.report(temperatures=coldest_first("anchor_temperature", {**tau, **texts}))
        return encoder

    def _views(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Two views of every image; the negatives are both views of all others."""
        draw = augmentation(self.augmentation, data.shape)
        net = run.state(model=projected(model, dim=self.dim, norm=self.norm, seed=run.seed))
        memory = run.state(memory=self._memory(len(data.train), ("image",), self.temperature))
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
            self._move(run, memory, index, "image", seen, clip=3.0, lowest=self.lowest)
        tau = memory.get_buffer("image_temperature")
        run.report(temperatures=coldest_first("temperature", {"temperature": tau}, data))
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
        memory = run.state(memory=self._memory(len(data.train), ("image", "partner"), self.temperature))
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
                self._move(run, memory, index, side, side_terms, clip=5.0, lowest=self.lowest)
        tau_i, tau_p = (memory.get_buffer(f"{side}_temperature") for side in ("image", "partner"))
        both = {"temperature": tau_i, "partner_temperature": tau_p}
        run.report(temperatures=coldest_first("temperature", both, data))
        return net

    def _memory(self, count: int, sides: tuple[str, ...], temperature: float) -> PerSample:
        start = {"temperature": temperature, "log_average": -math.inf, "momentum": 0.0}
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

    def _move(
        self,
        run: Run,
        memory: PerSample,
        index: Tensor,
        side: str,
        seen: Robust,
        *,
        clip: float,
        lowest: float,
    ) -> None:
        """Store a side's averages and move its temperatures."""
        new, momentum = memory.read(f"{side}_temperature", index), memory.read(f"{side}_momentum", index)
        if self.individual:
            new, momentum = descend(
                new, momentum, seen.temperature_gradient, step=self.temperature_rate, beta=self.temperature_beta,
                clip=clip, low=lowest, high=self.highest,
            )  # fmt: skip
        spread = float(new.std()) if len(new) > 1 else 0.0
        run.log(**{f"{side}_temperature": float(new.mean()), f"{side}_temperature_spread": spread})
        values = {"temperature": new, "log_average": seen.log_average, "momentum": momentum}
        # Every rank keeps the whole table, so every rank writes all ranks' rows.
        rows = run.gather_constant(index)
        memory.write(rows, **{f"{side}_{name}": run.gather_constant(value) for name, value in values.items()})


def coldest_first(
    by: str, columns: dict[str, Tensor | tuple[str, ...]], images: Images | None = None
) -> dict[str, list[Any]]:
    """Every training row's number and columns, from the rarest semantics to the commonest; of images with label and captions.

    Args:
        by: the column of temperatures that says what is rare.
    """
    tau = columns[by]
    assert isinstance(tau, Tensor)
    order = torch.argsort(tau.cpu(), stable=True)
    rows = order.tolist()
    table: dict[str, list[Any]] = {"row": rows}
    if images is not None:
        table["label"] = images.train.labels[order].tolist()
    for name, values in columns.items():
        table[name] = (
            [round(value, 6) for value in values.cpu()[order].tolist()]
            if isinstance(values, Tensor)
            else [values[row] for row in rows]
        )
    if images is not None and images.train.captions is not None:
        table["caption"] = ["; ".join(images.train.captions[row]) for row in rows]
    return table
