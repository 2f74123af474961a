"""Decoupled contrastive learning (arXiv 2110.06848): InfoNCE without the positive in the denominator (eq. 6).

    l_i = -s(z_i, z_i')/tau + log sum_{both views a of the other images} e^{s(z_i, a)/tau}

InfoNCE multiplies the gradient of anchor i by q_i, its softmax mass off the positive: close to 0 in a small batch. Here
the factor is 1. ``dclw`` weighs dissimilar positives up; ``nnclr-dcl`` takes as positive the nearest neighbour of the
image in a queue of past projections. On pairs of sentences (settings ``sentences``) a text encoder is trained: an anchor and its
positive stand for the two views, hard negatives beside those of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from counterpoint.data.images.load import Images
from counterpoint.data.sentence_pairs.items import SentencePairs
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.coupling import Coupling
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.methods.sentences import Sentences, refuse_settings
from counterpoint.models.images.projector import HeadNorm, Projector, projected
from counterpoint.objectives.contrast.decoupled import decoupled
from counterpoint.objectives.contrast.neighbours import nearest_neighbours, nnclr
from counterpoint.objectives.contrast.sentence_ranking import sentence_ranking
from counterpoint.pairs.views import Augmentation, augmentation, gather_views
from counterpoint.phases.sentence_pairs.training import refuse_form
from counterpoint.training import Optimizer, Run


@dataclass(kw_only=True)
class DCL(Method[nn.Module, Images | SentencePairs]):
    """Settings of DCL; shapes: B images, 2 views, D dimensions, K queue rows.

    Attributes:
        variant: "dcl"; "dclw", with weighted positives; "nnclr" and "nnclr-dcl", with neighbours from a queue.
        temperature: tau.
        sigma: bandwidth of dclw's weights.
        symmetric: both views are anchors, averaged; else the first alone.
        queue_size: K, past projections to look for neighbours in.
        batch_size: images per step, each seen in two views.
        epochs: passes over the images when the run has no budget.
        optimizer, learning_rate, weight_decay, warmup: of the optimiser, with a cosine schedule.
        hidden, dim, norm: of the projector; hidden 0 means the features' width.
        augmentation: "auto", "small", "digits", "natural", or an ``Augmentation``.
        sentences: of the training on pairs of sentences, which reads ``symmetric`` and these alone.
    """

    key: ClassVar[str] = "dcl"
    full_batches: ClassVar[bool] = True
    also: ClassVar[tuple[str, ...]] = ("sentence-pairs",)
    contrasts: ClassVar[dict[str, str]] = {"sentence-pairs": "sentences.batch_size"}
    search_of: ClassVar[dict[str, Search]] = {
        "sentence-pairs": {"sentences.temperature": (0.01, 0.2), "sentences.learning_rate": (1e-6, 1e-3)}
    }
    search: ClassVar[Search] = {"temperature": (0.05, 1.0), "learning_rate": (0.03, 3.0)}
    ablations: ClassVar[Ablations] = {
        "weighted positives": {"variant": "dclw"},
        "neighbours as positives": {"variant": "nnclr-dcl"},
        "one view as anchor": {"symmetric": False},
    }

    variant: Literal["dcl", "dclw", "nnclr", "nnclr-dcl"] = "dcl"
    temperature: float = 0.1
    sigma: float = 0.5
    symmetric: bool = True
    queue_size: int = 65536
    batch_size: int = 256
    epochs: float = 200
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.3
    weight_decay: float = 1e-6
    warmup: float = 0.1
    hidden: int = 0
    dim: int = 128
    norm: HeadNorm = "auto"
    augmentation: str | Augmentation = "auto"
    sentences: Sentences = field(default_factory=Sentences)

    def check(self, data: Images | SentencePairs) -> None:
        """Refuse neighbours out of an empty queue."""
        if self.variant.startswith("nnclr"):
            self.demand(above_zero=["queue_size"])

    def fit(self, model: nn.Module, data: Images | SentencePairs, run: Run) -> nn.Module:
        """Train and return the encoder with its projector; of sentences, the encoder."""
        self.check(data)
        sentences = isinstance(data, SentencePairs)
        refuse_settings(self.key, self.changed(), shared=("variant", "symmetric"), sentences=sentences)
        return (
            self._sentences(model, data, run)
            if isinstance(data, SentencePairs)
            else self._images(model, data, run)
        )

    def _sentences(self, model: nn.Module, data: SentencePairs, run: Run) -> nn.Module:
        """Anchor and positive are the views; against both sides of the other rows, and hard negatives."""
        refuse_form(self.key, data, scored=False)
        self.demand(above_zero=["sentences.temperature"])
        if self.variant != "dcl":
            raise CounterpointError(
                f"dcl: variant={self.variant} is of images; on pairs of sentences expected variant=dcl"
            )
        own = self.sentences
        encoder = own.applied(model)
        for batch in own.batches(run, encoder, data):
            run.step(
                sentence_ranking(
                    batch.anchors,
                    batch.positives,
                    batch.negatives,
                    temperature=own.temperature,
                    symmetric=self.symmetric,
                    decoupled=True,
                    both_sides=True,
                    candidates=batch.candidates,
                    offset=batch.offset,
                    texts=batch.texts,
                )
            )
        return encoder

    def _images(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        draw = augmentation(self.augmentation, data.shape)
        net = run.state(
            model=projected(model, hidden=self.hidden, dim=self.dim, norm=self.norm, seed=run.seed)
        )
        coupling = run.state(coupling=Coupling())
        trained = nn.ModuleDict({"net": net})
        neighbours = self.variant.startswith("nnclr")
        if neighbours:
            queue = run.state(queue=Queue(self.queue_size, self.dim, run.seed))
            # The predictor is part of the training only, as in its paper.
            predictor = run.state(predictor=Projector(self.dim, 4 * self.dim, self.dim))
            trained["predictor"] = predictor
        run.optimize(
            trained,
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
            seen = z_VBD if all_VBD is None else all_VBD
            if batch.step % 10 == 0:
                run.log(npc_multiplier=coupling.update(*seen.detach().unbind(), self.temperature))
            if neighbours:
                nearest = nearest_neighbours(z_VBD[0], queue.rows), nearest_neighbours(z_VBD[1], queue.rows)
                p_VBD = run.forward(predictor, z_VBD.flatten(0, 1)).unflatten(0, (2, -1))
                queue.push(seen[1].detach())
                loss = self._neighbours(nearest, p_VBD, gather_views(p_VBD, run), run.row_offset)
            else:
                loss = decoupled(
                    *z_VBD.unbind(),
                    temperature=self.temperature,
                    sigma=self.sigma if self.variant == "dclw" else None,
                    symmetric=self.symmetric,
                    candidates=None if all_VBD is None else (all_VBD[0], all_VBD[1]),
                    offset=run.row_offset,
                )
            run.step(loss)
        run.report(npc_multiplier=coupling.mean)
        return net

    def _neighbours(
        self, neighbours: tuple[Tensor, Tensor], p_VBD: Tensor, all_VBD: Tensor | None, offset: int
    ) -> Tensor:
        return nnclr(
            neighbours,
            (p_VBD[0], p_VBD[1]),
            temperature=self.temperature,
            decoupled=self.variant == "nnclr-dcl",
            candidates=None if all_VBD is None else (all_VBD[0], all_VBD[1]),
            offset=offset,
        )


class Queue(nn.Module):
    """The last K projections as unit rows, first in, first out; random directions until it has filled up.

    >>> queue = Queue(3, 2, seed=0)
    >>> queue.push(torch.eye(2))
    >>> queue.push(-torch.eye(2))
    >>> queue.rows.tolist()
    [[-0.0, -1.0], [0.0, 1.0], [-1.0, -0.0]]
    """

    def __init__(self, size: int, dim: int, seed: int) -> None:
        super().__init__()
        start = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("rows", normalize(start, dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, rows_ND: Tensor) -> None:
        """Replace the oldest rows by these."""
        rows, position = self.get_buffer("rows"), self.get_buffer("position")
        new = normalize(rows_ND, dim=1)[-len(rows) :].to(rows)
        rows[(position + torch.arange(len(new), device=rows.device)) % len(rows)] = new
        position.add_(len(new)).remainder_(len(rows))
