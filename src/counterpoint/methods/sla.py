"""Self-supervised label augmentation (arXiv 1910.05872): one classifier over (class, transformation) pairs.

    L_SLA = mean_j -log softmax(w z_j)[y, j],      z_j the features of the j-th transformed copy

Asking for the class whatever the rotation, and for the rotation as a second task, pulls a network two ways; asking for
both at once does not. The copies' logits, each of its own transformation's columns, average to an ensemble; in mode
``sla+sd`` a plain head learns that ensemble's answer, for one pass at test time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.methods.base import Ablations, Method, Search
from counterpoint.models.images.classifier import Classified, fresh_heads
from counterpoint.models.images.paired import Paired
from counterpoint.models.images.projector import Projected
from counterpoint.objectives.labels.label_augmentation import (
    augmented_loss,
    ensemble_distillation,
    joint_loss,
    transformation_loss,
)
from counterpoint.objectives.reduction import Loss
from counterpoint.pairs.transformations import transformations
from counterpoint.pairs.views import Augmentation, augmentation
from counterpoint.training import Optimizer, Run

HEADS = {
    "baseline": ("plain",),
    "da": ("plain",),
    "mt": ("plain", "transform"),
    "sla": ("joint",),
    "sla+sd": ("joint", "plain"),
}


@dataclass(kw_only=True)
class SLA(Method[nn.Module, Images]):
    """Settings of SLA; shapes: B images, M transformed copies of each, N classes.

    Attributes:
        mode: "sla"; "sla+sd", with a plain head that learns the ensemble; or what the paper compares with: "baseline"
            (images as they are), "da" (copies as augmentation), "mt" (copies, and a second head for the transformation).
        transformations: "rotation", "rotation2", "color_perm", "color_perm3", "rot_color_perm6", "rot_color_perm12" or
            "rot_color_perm24"; turns need square images, orders of colours need colour.
        summed: sum the joint loss over the copies instead of averaging, as the paper does on large data.
        distillation_temperature: T of the plain head's divergence from the ensemble.
        label_weight: beta, of the plain head's own cross-entropy.
        batch_size: images per step, each in M copies.
        epochs: passes over the labelled images when the run has no budget.
        optimizer, learning_rate, weight_decay: of the optimiser. schedule: "steps" divides the rate by ten twice.
        augmentation: ordinary augmentation before the copies: "light" (shifts; flips for colour), "none", a preset of
            the contrastive methods, or an ``Augmentation``.
    """

    key: ClassVar[str] = "sla"
    search: ClassVar[Search] = {"learning_rate": (0.01, 0.3), "weight_decay": (1e-5, 1e-3)}
    ablations: ClassVar[Ablations] = {
        "transformations as augmentation": {"mode": "da"},
        "transformations as a second task": {"mode": "mt"},
        "labels alone": {"mode": "baseline"},
        "with self-distillation": {"mode": "sla+sd"},
    }

    mode: Literal["sla", "sla+sd", "baseline", "da", "mt"] = "sla"
    transformations: str = "rotation"
    summed: bool = False
    distillation_temperature: float = 1.0
    label_weight: float = 1.0
    batch_size: int = 128
    epochs: float = 205
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    schedule: Literal["steps", "cosine", "constant"] = "steps"
    augmentation: str | Augmentation = "light"

    def fit(self, model: nn.Module, data: Images, run: Run) -> nn.Module:
        """Train and return the encoder with its heads."""
        labelled = data.train.labelled()
        if len(data.classes) < 2 or not len(labelled):
            raise CounterpointError(
                f"{data.name} has no labels and sla learns from labels; give class folders or a label column, or train "
                "without labels by dcl"
            )
        copies = transformations("rotation" if self.mode == "baseline" else self.transformations)
        num = 1 if self.mode == "baseline" else len(copies)
        draw = augmentation(self.augmentation, data.shape)
        # A model that was just opened or measured is in evaluation mode, in which batch normalisation would not train.
        net = run.state(model=self._classified(model, data, num, run.seed).train())
        rule = Optimizer(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
        )
        run.optimize(net, rule)
        for batch in run.batches(
            labelled, self.batch_size, epochs=self.epochs, drop_last=len(labelled) >= self.batch_size
        ):
            pixels = draw.views(batch.items.pixels, batch.random, 1)
            rows = copies(pixels) if num > 1 else pixels
            logits = net.heads.split(run.forward(net, rows, classify=True))
            run.step(self._losses(logits, batch.items.labels, num))
        return net

    def _losses(self, logits: dict[str, Tensor], labels: Tensor, num: int) -> dict[str, Loss]:
        """The mode's named terms, each one loss per image."""
        if self.mode in ("sla", "sla+sd"):
            weight = float(num) if self.summed else 1.0
            terms = {"joint": Loss(joint_loss(logits["joint"], labels, num), weight=weight)}
            if self.mode == "sla+sd":
                plain = logits["plain"][::num]
                ensemble, label = ensemble_distillation(
                    plain, logits["joint"], labels, num, self.distillation_temperature
                )
                terms |= {"ensemble": Loss(ensemble), "label": Loss(label, weight=self.label_weight)}
            return terms
        terms = {"label": Loss(augmented_loss(logits["plain"], labels, num))}
        if self.mode == "mt":
            terms["transformation"] = Loss(transformation_loss(logits["transform"], num))
        return terms

    def _classified(self, model: nn.Module, data: Images, num: int, seed: int) -> Classified:
        heads, name = HEADS[self.mode], self.transformations if num > 1 else ""
        if isinstance(model, Classified):
            own_heads = model.heads
            if (own_heads.classes, tuple(own_heads.widths), own_heads.transformations) == (
                data.classes,
                heads,
                name,
            ):
                return model
        model = model.image if isinstance(model, Paired) else model
        encoder = model.encoder if isinstance(model, Projected | Classified) else model
        width = getattr(encoder, "num_features", None)
        if not isinstance(width, int):
            raise CounterpointError(
                f"{type(encoder).__name__} has no attribute num_features; set it to the width of its output: model.num_features = 512"
            )
        return Classified(encoder, fresh_heads(width, data.classes, name, num, heads, seed))
