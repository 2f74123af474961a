"""Around a distilled set: the target model's own training, which images a set begins with, and an encoder's training on one.

M distilled images, K targets each, F features of the target model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from counterpoint.data.images.load import Images
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.models.images.distilled import DistilledSet
from counterpoint.models.images.paired import Paired
from counterpoint.objectives.contrast.decoupled import decoupled
from counterpoint.pairs.views import augmentation, gather_views, unit_range
from counterpoint.training import Optimizer, Run
from counterpoint.training.seeds import derive

Select = Literal["learn", "random", "kmeans", "labels", "all"]


@dataclass
class Target:
    """The self-supervised model g whose features are the targets.

    Attributes:
        model: "own", a copy of the given encoder trained by the decoupled contrastive loss; or the name or folder of any image
            encoder, which is frozen as it is.
        epochs, batch_size, learning_rate, temperature: of that training.
    """

    model: str = "own"
    epochs: float = 200
    batch_size: int = 256
    learning_rate: float = 0.3
    temperature: float = 0.5


@dataclass
class Pretrain:
    """The encoder's training on the distilled set, by SGD.

    Attributes:
        epochs, batch_size, learning_rate, momentum, weight_decay: of it.
    """

    epochs: float = 1000
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-3


class Scale(nn.Module):
    """The size of the target model's features, one number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones((), dtype=torch.double))

    def set(self, value: float) -> None:
        """Take a value."""
        self.get_buffer("value").fill_(value)


@dataclass(frozen=True)
class Pairs:
    """Images with their targets, as the Run's batches want them."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> Pairs:
        return Pairs(self.images[index], self.targets[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Pairs:
        """Move both to a device."""
        return Pairs(*(each.to(device, non_blocking=non_blocking) for each in (self.images, self.targets)))


def train_target(target: nn.Module, how: Target, data: Images, run: Run) -> None:
    """Views of an image find each other, without labels."""
    draw = augmentation("auto", data.shape)
    run.optimize(target, Optimizer(name="sgd", learning_rate=how.learning_rate, weight_decay=1e-6, schedule="cosine", warmup=0.1))  # fmt: skip
    size = min(how.batch_size, len(data.train))
    for batch in run.batches(data.train.pixels, size, epochs=how.epochs, drop_last=True):
        z_VBD = run.forward(target, draw.views(batch.items, batch.random, 2), project=True).unflatten(
            0, (2, -1)
        )
        others = gather_views(z_VBD, run)
        run.step(
            decoupled(
                *z_VBD.unbind(),
                temperature=how.temperature,
                candidates=None if others is None else (others[0], others[1]),
                offset=run.row_offset,
            )
        )


def first_set(
    target: nn.Module, data: Images, select: Select, size: int, seed: int
) -> tuple[Tensor, Tensor, float]:
    """What the set begins with: images [M, C, H, W], targets [M, K], and the size of a feature."""
    every = features(target, data.train.pixels)
    size_of = float(every.pow(2).mean().sqrt()) or 1.0
    rows = first_rows(every, select, size, seed)
    if select == "labels":
        targets = nn.functional.one_hot(data.train.labels[rows], len(data.classes)).float()
    else:
        targets = every[rows] / size_of
    return unit_range(data.train.pixels[rows]), targets, size_of


def start_set(distilled: DistilledSet, scale: Scale, first: tuple[Tensor, Tensor, float]) -> None:
    """Make a set what it begins with, and note the size of a feature."""
    distilled.become(first[0], first[1])
    scale.set(first[2])


def first_rows(every_NF: Tensor, select: Select, size: int, seed: int) -> Tensor:
    """Which training images the set begins with."""
    if select == "all":
        return torch.arange(len(every_NF))
    if select == "kmeans":
        from sklearn.cluster import KMeans

        centres = KMeans(size, n_init=3, random_state=seed).fit(every_NF.double().numpy()).cluster_centers_
        return torch.cdist(torch.from_numpy(centres).to(every_NF), every_NF).argmin(1)
    draw = torch.Generator().manual_seed(derive(seed, "distilled set"))
    return torch.randperm(len(every_NF), generator=draw)[:size].sort().values


def regress(net: nn.Module, distilled: DistilledSet, how: Pretrain, run: Run) -> None:
    """Train an encoder with its head on the set."""
    run.optimize(
        net,
        Optimizer(
            name="sgd",
            learning_rate=how.learning_rate,
            momentum=how.momentum,
            weight_decay=how.weight_decay,
        ),
    )
    net.train()
    rows = Pairs(distilled.images.detach().cpu(), distilled.targets.detach().cpu())
    for batch in run.batches(rows, min(how.batch_size, len(rows)), epochs=how.epochs, drop_last=True):
        images, targets = batch.items.images, batch.items.targets
        run.step(((run.forward(net, images) - targets) ** 2).mean(1))


def bare(model: nn.Module) -> nn.Module:
    """The encoder of a model that may have a projector, a partner, heads or a distilled set.

    Raises:
        CounterpointError: the width of its features is unknown.
    """
    model = model.image if isinstance(model, Paired) else model
    encoder = getattr(model, "encoder", model)
    if not isinstance(getattr(encoder, "num_features", None), int):
        raise CounterpointError(
            f"{type(encoder).__name__} has no attribute num_features; set it to the width of its output: model.num_features = 512"
        )
    return encoder


def headed(encoder: nn.Module, width: int, seed: int) -> nn.Sequential:
    """An encoder with a fresh linear head of a width, drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "head"))
        return nn.Sequential(encoder, nn.Linear(int(encoder.num_features), width))  # type: ignore[arg-type]


def held_out_error(net: nn.Module, target: nn.Module, scale: float, data: Images) -> float:
    """Mean squared error of an encoder with its head to the target model's features, on validation images."""
    wanted = features(target, data.validation.pixels) / scale
    return float((features(net, data.validation.pixels) - wanted).pow(2).mean())
