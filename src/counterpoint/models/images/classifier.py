"""An image encoder with the linear heads it is trained to classify with; saved as the encoder's folder plus ``heads/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.models.model_folders import Saved, state


class Heads(Saved):
    """Linear heads side by side on the same features, their logits concatenated.

    Args:
        num_features: F, width of the features.
        classes: names of the N classes, in the order of the logits.
        transformations: name of the set of M transformations the heads know; empty for none.
        num_transforms: M.
        heads: which of "plain" (N logits), "joint" (N * M, column class * M + transformation) and "transform" (M).

    >>> heads = Heads(8, ["cat", "dog"], "rotation", 4, ["joint", "plain"])
    >>> {name: tuple(part.shape) for name, part in heads.split(heads(torch.zeros(3, 8))).items()}
    {'joint': (3, 8), 'plain': (3, 2)}
    """

    whole = False

    def __init__(
        self,
        num_features: int,
        classes: Sequence[str],
        transformations: str = "",
        num_transforms: int = 1,
        heads: Sequence[str] = ("plain",),
    ) -> None:
        super().__init__()
        self.classes, self.transformations, self.num_transforms = (
            tuple(classes),
            transformations,
            num_transforms,
        )
        count = len(self.classes)
        widths = {"plain": count, "joint": count * num_transforms, "transform": num_transforms}
        self.widths = {name: widths[name] for name in heads}
        self.linear = nn.Linear(num_features, sum(self.widths.values()))

    def forward(self, features: Tensor) -> Tensor:
        """[R, F] -> [R, all heads' logits]."""
        return self.linear(features)

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """Each head's logits by name."""
        return dict(zip(self.widths, logits.split(list(self.widths.values()), dim=1), strict=True))


class Classified(nn.Module):
    """An encoder with heads. It is an encoder itself: calling it gives features; ``classify=True``, all heads' logits."""

    def __init__(self, encoder: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return int(self.encoder.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor, classify: bool = False) -> Tensor:
        """[R, C, H, W] -> [R, F] features, or [R, all heads' logits]."""
        features = self.encoder(pixels)
        return self.heads(features) if classify else features

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the heads' in ``heads/``."""
        whole: Any = self.encoder
        whole.save_pretrained(folder)
        self.heads.save_pretrained(Path(folder) / "heads")
        state(folder, self)


def fresh_heads(
    num_features: int,
    classes: Sequence[str],
    transformations: str,
    num_transforms: int,
    heads: Sequence[str],
    seed: int,
) -> Heads:
    """Heads with initial weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Heads(num_features, list(classes), transformations, num_transforms, list(heads))
