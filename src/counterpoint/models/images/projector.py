"""The head that contrast is computed on and that is set aside afterwards: features in, projections out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.images.classifier import Classified
from counterpoint.models.model_folders import Saved, state

HeadNorm = Literal["auto", "batch", "none"]


class Projector(Saved):
    """``Linear -> ReLU -> Linear``, or ``Linear -> BatchNorm -> ReLU -> Linear -> BatchNorm`` without biases.

    Args:
        num_features: width of the encoder's output.
        hidden: width between; ``dim``: width of the projections.
        batch_norm: normalise both layers over the batch, as large-scale recipes do; it keeps large steps stable.

    >>> Projector(256)(torch.zeros(2, 256)).shape
    torch.Size([2, 128])
    """

    whole = False

    def __init__(
        self, num_features: int, hidden: int = 256, dim: int = 128, batch_norm: bool = False
    ) -> None:
        super().__init__()
        if not batch_norm:
            self.body = nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, dim))
            return
        last = nn.BatchNorm1d(dim)
        last.register_parameter("bias", None)  # a shared offset would only move all projections together
        first = nn.Linear(num_features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
        self.body = nn.Sequential(*first, nn.Linear(hidden, dim, bias=False), last)

    def forward(self, features: Tensor) -> Tensor:
        """[N, F] -> [N, D]."""
        return self.body(features)


class Projected(nn.Module):
    """An encoder with its projector. It is an encoder itself: calling it gives features; ``project=True``, projections."""

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return int(self.encoder.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor, project: bool = False) -> Tensor:
        """[N, C, H, W] -> [N, F] features, or [N, D] projections, not normalised."""
        features = self.encoder(pixels)
        return self.projector(features) if project else features

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the projector's in ``projector/``."""
        encoder: Any = self.encoder
        projector: Any = self.projector
        encoder.save_pretrained(folder)
        projector.save_pretrained(Path(folder) / "projector")
        state(folder, self)


def projected(
    model: nn.Module, *, hidden: int = 0, dim: int = 128, norm: HeadNorm = "auto", seed: int = 0
) -> Projected:
    """Put a fresh projector on an encoder; a model that has one of this width already keeps it. In training mode.

    Args:
        model: an encoder with ``num_features``, or a ``Projected``.
        hidden: width between; 0 means as wide as the features. ``dim``: width of the projections.
        norm: "batch", "none", or "auto": batch normalisation in the head when the encoder has it as well.
        seed: of the projector's initial weights.

    Raises:
        CounterpointError: the model does not say how wide its features are.
    """
    two_towers = getattr(model, "image", None)
    if isinstance(two_towers, Projected):
        model = two_towers
    if isinstance(model, Projected):
        last = [layer for layer in model.projector.modules() if isinstance(layer, nn.Linear)][-1]
        if last.out_features == dim:
            return model.train()
        model = model.encoder
    elif isinstance(model, Classified):
        model = model.encoder
    width = getattr(model, "num_features", None)
    if not isinstance(width, int):
        raise CounterpointError(
            f"{type(model).__name__} has no attribute num_features; set it to the width of its output: model.num_features = 512"
        )
    batch = norm == "batch" or (
        norm == "auto" and any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Projector(width, hidden or width, dim, batch)
    # A model that was just opened or measured is in evaluation mode, in which batch normalisation would not train.
    return Projected(model, head).train()
