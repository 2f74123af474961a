"""KRR-ST (arXiv 2310.06511): an unlabelled set distilled into a few images with target vectors that pretrain as well as the whole.

    min over X_s, Y_s of  mean || K_ts (K_ss + lambda I)^{-1} Y_s - g(X_t) ||^2        g a frozen self-supervised model

Training on the few is plain regression, without random views, so that its solution is known: a ridge regression on the
features of a network that is drawn from a pool of partly trained ones. The gradient of the error on real images goes through
the solution into images and targets. At the end an encoder is trained on them, and keeps them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.images.distilled import DistilledSet, FromDistilled, open_distilled
from counterpoint.models.images.encoders import load_encoder
from counterpoint.models.images.projector import projected
from counterpoint.objectives.distillation.distilled_set import distilled_set_error
from counterpoint.pairs.views import augmentation
from counterpoint.phases.distilled_pool import Pool, Reset
from counterpoint.phases.distilled_set import (
    Pretrain,
    Scale,
    Select,
    Target,
    bare,
    first_set,
    headed,
    held_out_error,
    regress,
    start_set,
    train_target,
)  # fmt: skip
from counterpoint.training import Optimizer, Run


@dataclass
class Outer:
    """The steps on images and targets, by AdamW without decay of weights, its rate falling linearly.

    Attributes:
        epochs: passes over the real images, 160,000 steps on 50,000 of them. batch_size: real images a step, shifted at random.
        learning_rate: of both. ridge: lambda as a share of the Gram matrix's trace.
    """

    epochs: float = 3277
    batch_size: int = 1024
    learning_rate: float = 1e-4
    ridge: float = 1e-6


@dataclass
class Inner:
    """The pool of networks that the set is judged with.

    Attributes:
        networks: l. updates: Z, after which one gives way to a fresh one. widths: of each, a block a number.
        learning_rate, momentum, weight_decay: of the SGD that updates them, on the whole set at once.
        reset: "paper", or "code", which never resets the count of a replaced network, as the authors' program.
    """

    networks: int = 10
    updates: int = 1000
    widths: tuple[int, ...] = (128, 256, 512)
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-3
    reset: Reset = "paper"


@dataclass(kw_only=True)
class KRRST(Method[nn.Module, Images]):
    """Settings of KRR-ST.

    Attributes:
        size: m, images of the distilled set.
        select: "learn" them; or what the paper compares with: "random" real images with their features, "kmeans", those nearest to
            the centres of the features, "labels", random ones with their classes for targets, "all", every training image.
        distilled: folder of a distilled set to train the encoder on; nothing is distilled.
        target, outer, inner, pretrain: see there. A budget is shared evenly among the parts that are trained.
    """

    key: ClassVar[str] = "krr-st"
    search: ClassVar[Search] = {"outer.learning_rate": (1e-4, 1e-2), "pretrain.learning_rate": (0.01, 0.3)}
    ablations: ClassVar[Ablations] = {
        "random images": {"select": "random"},
        "images near the centres": {"select": "kmeans"},
        "one network": {"inner.networks": 1},
    }

    size: int = 1000
    select: Select = "learn"
    distilled: str = ""
    target: Target = field(default_factory=Target)
    outer: Outer = field(default_factory=Outer)
    inner: Inner = field(default_factory=Inner)
    pretrain: Pretrain = field(default_factory=Pretrain)

    def __post_init__(self) -> None:
        """Refuse what nothing can be distilled with."""
        super().__post_init__()
        self.demand(above_zero=("size", "outer.ridge", "inner.networks", "inner.updates"))
        if not self.inner.widths or min(self.inner.widths) < 1:
            raise CounterpointError(
                f"{self.key}: inner.widths={self.inner.widths}; expected a whole number above 0 for each block, such as (32, 64)"
            )

    def fit(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Train or open the target model, distil, train the encoder on the result; return it with the set."""
        encoder = bare(model)
        if self.distilled:
            ready = open_distilled(self.distilled, data.shape)
            net = run.state(model=headed(encoder, ready.targets.shape[1], run.seed))
            regress(net, run.constant(ready), self.pretrain, run)
            return FromDistilled(encoder, ready)
        self.check(data)
        own = self.target.model == "own"
        start = (
            copy.deepcopy(encoder)
            if own
            else load_encoder(self.target.model, data.shape, statistics=data.statistics())
        )
        target: nn.Module = (
            run.state(target=projected(start, seed=run.seed)) if own else run.constant(bare(start))
        )
        size = len(data.train) if self.select == "all" else self.size
        width = len(data.classes) if self.select == "labels" else int(target.num_features)  # type: ignore[arg-type]
        distilled = run.state(distilled=DistilledSet(size, data.shape, width, made=self.select))
        scale = run.state(scale=Scale())
        learn = self.select == "learn"
        if learn:
            how = self.inner
            pool = run.state(
                pool=Pool(
                    how.networks, how.updates, data.shape, how.widths, data.statistics(), width, how.learning_rate,
                    how.momentum, how.weight_decay, how.reset, run.seed, run.device,
                )
            )  # fmt: skip
        parts = [name for name, there in (("target", own), ("distil", learn), ("pretrain", True)) if there]
        net = run.state(model=headed(encoder, width, run.seed))
        for r in run.rounds(len(parts)):
            if parts[r] == "target":
                train_target(target, self.target, data, run)
                continue
            if r == len(parts) - 1 - learn:  # the first round after the target model is there
                first = run.stage("begin", partial(first_set, target, data, self.select, size, run.seed))
                run.once("begin", partial(start_set, distilled, scale, first))
            if parts[r] == "distil":
                run.once("pool", lambda: pool.begin(distilled))
                self._distil(distilled, pool, target, float(scale.value), data, run)
                continue
            regress(net, distilled, self.pretrain, run)
        distilled.scaled_by(float(scale.value))
        if self.select != "labels":
            run.report(
                held_out_error=run.stage("error", lambda: held_out_error(net, target, distilled.scale, data))
            )
        return FromDistilled(encoder, distilled.requires_grad_(False))

    def _distil(
        self, distilled: DistilledSet, pool: Pool, target: nn.Module, scale: float, data: Images, run: Run
    ) -> None:
        """The outer steps, each with one network of the pool."""
        how, draw = self.outer, augmentation("light", data.shape)
        run.optimize(distilled, Optimizer(name="adamw", learning_rate=how.learning_rate, schedule="linear"))
        target.eval()
        for batch in run.batches(data.train.pixels, min(how.batch_size, len(data.train)), epochs=how.epochs):
            index = int(torch.randint(len(pool.nets), (), generator=run.rng))
            real = draw.views(batch.items, batch.random, 1)
            with torch.no_grad():
                wanted, real_features = target(real) / scale, pool.features(index, real)
            learnt = pool.features(index, distilled.images)
            run.step(distilled_set_error(learnt, distilled.targets, real_features, wanted, how.ridge))
            pool.after(index, distilled)

    def check(self, data: Images) -> None:
        """Refuse a set that the data cannot begin, and images too small for the pool's networks."""
        if self.distilled:  # nothing is distilled
            return
        if self.select != "all" and self.size > len(data.train):
            raise CounterpointError(
                f"{self.key}: size={self.size} of {len(data.train)} training images; give fewer, for example --size {max(1, len(data.train) // 10)}"
            )
        if self.select == "labels" and (len(data.classes) < 2 or int((data.train.labels < 0).sum())):
            raise CounterpointError(
                f"{self.key}: select=labels needs a label of every training image of {data.name}"
            )
        if self.select == "learn" and min(data.shape[1:]) >> len(self.inner.widths) < 1:
            raise CounterpointError(
                f"{self.key}: images of {data.shape[1]}x{data.shape[2]} pixels halve to nothing in {len(self.inner.widths)} blocks; give "
                "fewer inner.widths, such as --inner-widths 32,64"
            )
