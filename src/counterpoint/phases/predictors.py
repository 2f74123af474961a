"""A classifier or regressor of any kind of data behind one face: its module, its rows, and outputs that are compared with targets.

Classes give probabilities (of data with several labels a text, one of each class), numbers give predictions in units of the
targets' deviation. B items, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from counterpoint.data.audio.load import Audio
from counterpoint.data.images.load import Images
from counterpoint.data.regression.splits import Regression
from counterpoint.data.text.load import Texts
from counterpoint.errors import CounterpointError
from counterpoint.models import passes
from counterpoint.models.audio.prepare import speech_classifier
from counterpoint.models.images.classifier import Classified, fresh_heads
from counterpoint.models.images.paired import Paired
from counterpoint.models.images.projector import Projected
from counterpoint.models.regression.tabular import Predictor
from counterpoint.models.text.encoder import coded, with_linear_head
from counterpoint.pairs.views import Augmentation, Random, augmentation


@dataclass(frozen=True)
class Predictors:
    """What a training on targets needs to know of a kind of data.

    Attributes:
        net: the module with its head, in training mode.
        rows, held: training and validation rows, as ``run.batches`` wants them.
        inputs: ``(items, random) -> arguments of the net``; random None leaves the inputs as they are.
        outputs: ``what the net gave -> [B, C]``. options: keywords of the net's call.
        targets: ``items -> [B, C]``.
    """

    net: nn.Module
    rows: Any
    held: Any
    inputs: Callable[[Any, Random | None], tuple[Tensor, ...]]
    outputs: Callable[[Any], Tensor]
    options: dict[str, Any]
    targets: Callable[[Any], Tensor]

    @torch.no_grad()
    def predicted(self) -> Tensor:
        """[M, C] outputs of the validation rows in evaluation mode, on the CPU."""
        device, training = next(self.net.parameters()).device, self.net.training
        self.net.eval()
        try:
            parts = []
            for index in torch.arange(len(self.held)).split(passes.at_once(256)):
                given = tuple(each.to(device) for each in self.inputs(self.held[index], None))
                parts.append(self.outputs(self.net(*given, **self.options)).float().cpu())
            return torch.cat(parts)
        finally:
            self.net.train(training)

    def truth(self) -> Tensor:
        """[M, C] targets of the validation rows."""
        return self.targets(self.held[torch.arange(len(self.held))]).float().cpu()


@singledispatch
def predictors(data: Any, model: nn.Module, seed: int, image: str | Augmentation = "light") -> Predictors:
    """The predictors of a kind of data, chosen by the type of its object.

    Args:
        data: images, texts, audio or regression. model: an encoder, or a model with a head for these targets.
        seed: a fresh head's. image: what happens to images in training.

    Raises:
        CounterpointError: data without targets, or of another kind.
    """
    raise CounterpointError(
        f"{type(data).__name__} has no targets that a model could predict; expected images, texts, audio or regression"
    )


@predictors.register
def _regression(
    data: Regression, model: nn.Module, seed: int, image: str | Augmentation = "light"
) -> Predictors:
    y = data.train.targets
    middle, spread = float(y.mean()), float(y.std()) or 1.0
    if isinstance(model, Predictor):
        net = model
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Predictor(model, middle, spread, (data.offset, data.scale))
    channels = tuple(int(size) for size in data.train.inputs.shape[1:])
    draw = None if data.columns else augmentation(image, (channels[0], channels[1], channels[2]))

    def inputs(items: Any, random: Random | None) -> tuple[Tensor, ...]:
        if draw is None:
            return (items.inputs,)
        return (draw.views(items.inputs, random, 1) if random is not None else scaled(items.inputs),)

    return Predictors(
        net=net.train(),
        rows=data.train,
        held=data.validation,
        inputs=inputs,
        outputs=lambda given: (given[:, None] - middle) / spread,
        options={"predict": True},
        targets=lambda items: (items.targets[:, None] - middle) / spread,
    )


@predictors.register
def _images(data: Images, model: nn.Module, seed: int, image: str | Augmentation = "light") -> Predictors:
    labelled, held = data.train.labelled(), data.validation.labelled()
    _require(len(data.classes), len(labelled), data.name)
    draw, count = augmentation(image, data.shape), len(data.classes)
    own = isinstance(model, Classified) and (model.heads.classes, tuple(model.heads.widths)) == (
        data.classes,
        ("plain",),
    )
    if not own:
        model = model.image if isinstance(model, Paired) else model
        encoder = model.encoder if isinstance(model, Projected | Classified) else model
        width = getattr(encoder, "num_features", None)
        if not isinstance(width, int):
            raise CounterpointError(
                f"{type(encoder).__name__} has no attribute num_features; set it to the width of its output: model.num_features = 512"
            )
        model = Classified(encoder, fresh_heads(width, data.classes, "", 1, ("plain",), seed))

    def inputs(items: Any, random: Random | None) -> tuple[Tensor, ...]:
        return (draw.views(items.pixels, random, 1) if random is not None else scaled(items.pixels),)

    return Predictors(
        net=model.train(),
        rows=labelled,
        held=held,
        inputs=inputs,
        outputs=lambda logits: logits.softmax(1),
        options={"classify": True},
        targets=lambda items: one_hot(items.labels, count).float(),
    )


@predictors.register
def _texts(data: Texts, model: nn.Module, seed: int, image: str | Augmentation = "light") -> Predictors:
    labelled, held = data.train.with_labels(), data.validation.with_labels()
    _require(len(data.classes), len(labelled), data.name)
    net = with_linear_head(model, data.classes, data.multi_label, seed).train()
    several = data.multi_label
    return Predictors(
        net=net,
        rows=coded(net, labelled.texts, labelled.targets, labelled.labelled),
        held=coded(net, held.texts, held.targets, held.labelled) if len(held) else held,
        inputs=lambda items, random: (items.ids, items.mask),
        outputs=lambda logits: logits.sigmoid() if several else logits.softmax(1),
        options={"out": "logits"},
        targets=lambda items: items.targets,
    )


@predictors.register
def _audio(data: Audio, model: nn.Module, seed: int, image: str | Augmentation = "light") -> Predictors:
    count = len(data.classes)
    return Predictors(
        net=speech_classifier(model, data.classes, seed),
        rows=data.train,
        held=data.validation,
        inputs=lambda items, random: (items.waves, items.lengths),
        outputs=lambda given: given[1].softmax(1),
        options={"classify": True},
        targets=lambda items: one_hot(items.labels, count).float(),
    )


def scaled(pixels: Tensor) -> Tensor:
    """Pixels as floats in [0, 1]."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _require(classes: int, labelled: int, name: str) -> None:
    if classes < 2 or not labelled:
        raise CounterpointError(
            f"{name} has {labelled} labelled training examples of {classes} classes; expected labels of at least two classes"
        )
