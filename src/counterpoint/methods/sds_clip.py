"""SDS-CLIP (arXiv 2307.09233): CLIP's contrast, and image vectors that a text-to-image denoiser can make sense of under the caption.

    L = L_CLIP + lambda L_SDS,   L_SDS = E_{t,e} || e_theta(z_t, t, c) - e ||^2,   z_t = sqrt(a_t) h(f(x)) + sqrt(1 - a_t) e

A linear map h takes CLIP's image vector f(x) into the space that a frozen denoiser works in. To be denoised well under the caption c it
must hold what c says of the arrangement, not only which things occur. The denoiser and h are left behind: what remains is CLIP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from counterpoint.data.captioned.items import Captioned
from counterpoint.data.images.captions import same
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.captioned.clip import TwoTowers
from counterpoint.models.captioned.denoiser import Denoiser, small_denoiser
from counterpoint.models.captioned.opened import open_denoiser
from counterpoint.models.captioned.paired import PairedTowers
from counterpoint.models.pictures.diffusion import diffused
from counterpoint.objectives.contrast.infonce import symmetric_info_nce
from counterpoint.objectives.distillation.score_distillation import Gradient, score_distillation_sampling
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.repeats import repeats_of
from counterpoint.phases.pictures.captioned import (
    CaptionTable,
    denoiser_accuracy,
    phase_steps,
    teach_denoiser,
)
from counterpoint.tasks.stock import orderless
from counterpoint.training import Optimizer, Run
from counterpoint.training.batches import Batch

Tuned = Literal["layer-norms", "layer-norms and projections", "all"]


@dataclass(kw_only=True)
class Teacher:
    """The denoiser that reads captions.

    Attributes:
        model: "own" trains a small one on the pairs first; or a folder: a model of the kind "pictures" with captions as prompts, or a
            text-to-image pipeline of diffusers; "digit-pairs" is the stock one for these data.
        steps, batch_size, learning_rate: of the own one's training.
    """

    model: str = "own"
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 1e-3


@dataclass(kw_only=True)
class Distillation:
    """The denoiser's part.

    Attributes:
        weight: lambda; 0 trains with CLIP's contrast alone, and needs no denoiser.
        gradient: "full" goes through the denoiser, "sds" leaves its Jacobian out.
        per_element: the mean over the latent's elements in place of the sum; lambda goes with it.
        captions: "own", or "shuffled" for a control: any training caption.
        earliest, latest: which of the denoiser's steps t are drawn, as shares of all; from the first on, below the second.
    """

    weight: float = 1.0
    gradient: Gradient = "full"
    per_element: bool = True
    captions: Literal["own", "shuffled"] = "own"
    earliest: float = 0.0
    latest: float = 1.0


@dataclass(kw_only=True)
class Mapper:
    """The map's training by itself, before CLIP is touched; a fresh map's gradient is noise.

    Attributes:
        steps, learning_rate: of it; 0 steps leave it out.
        earliest, latest: as in ``distillation``, for these steps.
    """

    steps: int = 400
    learning_rate: float = 1e-3
    earliest: float = 0.1
    latest: float = 0.8


@dataclass(kw_only=True)
class SDSCLIP(Method[nn.Module, Captioned]):
    """Settings of SDS-CLIP; shapes: n pairs of this rank, D numbers of an image's vector.

    Attributes:
        batch_size, epochs: of the fine-tuning, without a budget; a budget counts the steps of every phase.
        learning_rate, weight_decay: of AdamW.
        tune: which weights of both towers are trained.
        temperature: tau; None: CLIP's own. It is not trained.
        mask_repeats: pairs of a batch with equal captions are no negatives of one another; False counts them, as the paper does.
        distillation, mapper, teacher: see there.
    """

    key: ClassVar[str] = "sds-clip"
    full_batches: ClassVar[bool] = True
    search: ClassVar[Search] = {"learning_rate": (1e-5, 1e-3), "distillation.weight": (1e-3, 3.0)}
    ablations: ClassVar[Ablations] = {
        "without score distillation": {"distillation.weight": 0.0},
        "without a gradient through the denoiser": {"distillation.gradient": "sds"},
        "shuffled captions": {"distillation.captions": "shuffled"},
        "a mapper without warm-up": {"mapper.steps": 0},
    }

    batch_size: int = 32
    epochs: float = 5
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    tune: Tuned = "layer-norms"
    temperature: float | None = None
    mask_repeats: bool = True
    distillation: Distillation = field(default_factory=Distillation)
    mapper: Mapper = field(default_factory=Mapper)
    teacher: Teacher = field(default_factory=Teacher)

    def __post_init__(self) -> None:
        """Refuse intervals of steps that are empty or outside of [0, 1]."""
        super().__post_init__()
        self.demand(above_zero=("batch_size", "epochs", "learning_rate", "temperature", "teacher.batch_size"))
        for name, group in (("distillation", self.distillation), ("mapper", self.mapper)):
            if not 0 <= group.earliest < group.latest <= 1:
                raise CounterpointError(
                    f"sds-clip: {name}.earliest={group.earliest} and {name}.latest={group.latest}; expected 0 <= earliest < latest <= 1"
                )

    def fit(self, model: nn.Module, data: Captioned, run: Run) -> nn.Module:
        """Train and return both towers."""
        if not isinstance(model, TwoTowers | PairedTowers):
            raise CounterpointError(
                f"sds-clip: the model is a {type(model).__name__}; expected two towers, such as --model clip-small or a CLIP folder of transformers"
            )
        self._require_steps(run)
        table = CaptionTable.of(data)
        texts = model.read(table.texts)
        repeats = (
            repeats_of(frozenset(same(row)) for row in data.train.captions) if self.mask_repeats else None
        )
        denoiser = self._denoiser(data, table, run) if self.distillation.weight else None
        chosen = tuned(model, self.tune)
        parts = nn.ModuleDict({"towers": model})
        if denoiser is not None:
            parts["map"] = fresh_map(model.width, math.prod(denoiser.shape), run.seed)
        net = run.state(model=parts)
        if denoiser is not None:
            self._warm_up(net, denoiser, data, table, run)
        rule = Optimizer(name="adamw", learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        run.optimize(net, rule)
        rows = None if denoiser is None else denoiser.read(table.texts)
        for batch in run.batches(data.train, self.batch_size, epochs=self.epochs, drop_last=True):
            caption = table.drawn(batch.index, batch.random)
            vectors, words = run.forward(net["towers"], batch.items, texts[caption].to(run.device))
            terms = {"contrast": Loss(self._contrast(net["towers"], vectors, words, batch, repeats, run))}
            if denoiser is not None and rows is not None:
                shown = caption if self.distillation.captions == "own" else table.others(batch.random)
                error = self._error(
                    net, denoiser, vectors, rows[shown].to(run.device), batch, self.distillation, run
                )
                terms["denoising"] = Loss(error, weight=self.distillation.weight)
            run.step(terms)
        for parameter, trainable in chosen:
            parameter.requires_grad_(trainable)
        return net["towers"]

    def _require_steps(self, run: Run) -> None:
        """Refuse a budget that the phases before the fine-tuning use up."""
        before = (self.mapper.steps + self.teacher.steps * (self.teacher.model == "own")) * bool(
            self.distillation.weight
        )
        if run.budget.steps is not None and run.budget.steps <= before:
            raise CounterpointError(
                f"sds-clip: a budget of {run.budget.steps} steps, and {before} go to the denoiser and the map before any fine-tuning; give more, "
                "or fewer steps to teacher.steps and mapper.steps"
            )

    def _denoiser(self, data: Captioned, table: CaptionTable, run: Run) -> Denoiser:
        """The frozen denoiser, trained first where it is to be our own; how well it tells captions apart goes into the report."""
        how, denoiser = self.teacher, None
        if how.model == "own":
            own = run.state(denoiser=small_denoiser(data.shape, table.texts, seed=run.seed))
            teach_denoiser(
                own,
                data,
                table,
                run,
                steps=how.steps,
                batch_size=how.batch_size,
                learning_rate=how.learning_rate,
            )
            denoiser = own.eval().requires_grad_(False)
        elif how.model == orderless.DENOISER:
            denoiser = run.constant(orderless.load_denoiser())
        else:
            denoiser = run.constant(open_denoiser(how.model))
        accuracy = run.stage("denoiser accuracy", lambda: denoiser_accuracy(denoiser, data))
        run.report(denoiser_accuracy=accuracy)
        if accuracy <= 0.5:
            run.say(
                f"the denoiser tells a caption from a wrong one in {accuracy:.0%} of validation images: no better than chance, so that nothing "
                "of order can be learnt from it; train it longer (teacher.steps), or give another (teacher.model)"
            )
        return denoiser

    def _warm_up(
        self, net: nn.ModuleDict, denoiser: Denoiser, data: Captioned, table: CaptionTable, run: Run
    ) -> None:
        """The map alone learns to make what the denoiser can denoise of image vectors as they are."""
        if not self.mapper.steps:
            return
        rows, images = denoiser.read(table.texts), cast(TwoTowers | PairedTowers, net["towers"]).images
        run.optimize(net["map"], Optimizer(name="adam", learning_rate=self.mapper.learning_rate), name="map")

        def step(batch: Batch) -> None:
            caption = table.drawn(batch.index, batch.random)
            with torch.no_grad():
                vectors = run.forward(images, batch.items)
            error = self._error(net, denoiser, vectors, rows[caption].to(run.device), batch, self.mapper, run)
            run.step({"denoising": Loss(error)}, optimizer="map")

        phase_steps(run, data, self.batch_size, self.mapper.steps, "map", step)

    def _error(
        self,
        net: nn.ModuleDict,
        denoiser: Denoiser,
        vectors: Tensor,
        texts: Tensor,
        batch: Batch,
        times: Distillation | Mapper,
        run: Run,
    ) -> Tensor:
        """[n] L_SDS of image vectors [n, D], at steps and noises of the batch's draws."""
        low, high = (int(share * len(denoiser.alpha_bar)) for share in (times.earliest, times.latest))
        t = low + (batch.random.uniform() * max(high - low, 1)).long().clamp(max=max(high - low, 1) - 1)
        clean = net["map"](vectors).unflatten(1, denoiser.shape)
        noise = batch.random.normal(*denoiser.shape).to(clean.dtype)
        z_t = diffused(clean, noise, denoiser.alpha_bar[t].to(clean.dtype))
        how = self.distillation
        with torch.set_grad_enabled(how.gradient == "full"):
            predicted = run.forward(denoiser, z_t, t, texts)
        run.log(latent_deviation=float(clean.detach().square().mean().sqrt()) if len(clean) else 0.0)
        return score_distillation_sampling(predicted, noise, z_t, how.gradient, per_element=how.per_element)

    def _contrast(
        self,
        towers: nn.Module,
        vectors: Tensor,
        words: Tensor,
        batch: Batch,
        repeats: Tensor | None,
        run: Run,
    ) -> Tensor:
        """[n] L_CLIP among the batch's pairs of all ranks."""
        tau = self.temperature or towers.temperature()  # type: ignore[operator]
        everyone = None if run.world == 1 else (run.gather(vectors), run.gather(words))
        alike = None if repeats is None else run.gather_constant(repeats[batch.index].to(run.device))
        return symmetric_info_nce(
            vectors, words, temperature=tau, candidates=everyone, offset=run.row_offset, repeats=alike
        )


def fresh_map(width: int, size: int, seed: int) -> nn.Linear:
    """h: R^D -> R^L with W ~ N(0, 1/D) and b = 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(width, size)
        nn.init.normal_(layer.weight, std=width**-0.5)
        nn.init.zeros_(layer.bias)
    return layer


def tuned(towers: nn.Module, what: Tuned) -> list[tuple[nn.Parameter, bool]]:
    """Leave gradients to the chosen weights alone; every parameter with whether it had one.

    Raises:
        CounterpointError: towers without a layer normalisation.
    """
    before = [(parameter, parameter.requires_grad) for parameter in towers.parameters()]
    towers.requires_grad_(what == "all")
    if what != "all":
        norms = [module for module in towers.modules() if isinstance(module, nn.LayerNorm)]
        if not norms:
            raise CounterpointError(
                f"sds-clip: tune={what}, and the model has no layer normalisation; give tune=all"
            )
        for module in norms:
            module.requires_grad_(True)
        for name, module in towers.named_modules():
            if what == "layer-norms and projections" and name.endswith(
                ("visual_projection", "text_projection")
            ):
                module.requires_grad_(True)
    for name, parameter in towers.named_parameters():
        if name.endswith("logit_scale"):  # CLIP's own, as the paper leaves it
            parameter.requires_grad_(False)
    towers.train()
    return before
