"""Two towers with one space of projections: an image encoder, and a small head for the other modality's vectors."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from counterpoint.models.images.projector import HeadNorm, Projected, Projector, projected
from counterpoint.models.model_folders import state


class Paired(nn.Module):
    """An image encoder with its projector and a projector of partners' vectors; as an encoder it gives image features."""

    def __init__(self, image: Projected, partner: Projector) -> None:
        super().__init__()
        self.image, self.partner = image, partner

    @property
    def num_features(self) -> int:
        """Width of the image features."""
        return self.image.num_features

    def forward(self, pixels: Tensor, partners: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """[N, F] features of images alone; with partners [N, P], both sides' projections, each [N, D]."""
        if partners is None:
            return self.image(pixels)
        return self.image(pixels, project=True), self.partner(partners)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the image tower's folder with the partners' projector in ``partner/``."""
        self.image.save_pretrained(folder)
        self.partner.save_pretrained(Path(folder) / "partner")
        state(folder, self)


class Temperature(nn.Module):
    """One learnable temperature, kept as the logarithm of its inverse; it starts at ``start`` and stays at ``lowest`` or above.

    >>> round(float(Temperature(0.07)()), 6)
    0.07
    """

    def __init__(self, start: float, lowest: float = 0.01) -> None:
        super().__init__()
        self.log_scale, self.highest = nn.Parameter(torch.tensor(-math.log(start))), -math.log(lowest)

    def forward(self) -> Tensor:
        """The temperature, a scalar."""
        with (
            torch.no_grad()
        ):  # the parameter itself stays in bounds: beyond them it would get no gradient to come back by
            self.log_scale.clamp_(max=self.highest)
        return torch.exp(-self.log_scale)


def paired(model: nn.Module, width: int, *, dim: int, norm: HeadNorm = "auto", seed: int = 0) -> Paired:
    """Put both projectors on an image encoder, in training mode; a model that has them for this width keeps them.

    Args:
        width: P, of the partners' vectors. dim, norm, seed: as in ``projected``.
    """
    if isinstance(model, Paired):
        layers = [layer for layer in model.partner.modules() if isinstance(layer, nn.Linear)]
        if (layers[0].in_features, layers[-1].out_features) == (width, dim):
            return model.train()
        model = model.image
    image = projected(model, dim=dim, norm=norm, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        partner = Projector(width, max(width, dim), dim)
    return Paired(image, partner).train()
