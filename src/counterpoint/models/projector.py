"""The head that contrast is computed on and that is set aside afterwards: features in, projections out."""

from __future__ import annotations

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from counterpoint.errors import CounterpointError


class Projector(nn.Module, PyTorchModelHubMixin):
    """``Linear -> [BatchNorm] -> ReLU -> Linear``.

    Args:
        num_features: width of the encoder's output.
        hidden: width between; ``dim``: width of the projections.
        batch_norm: normalise the hidden layer over the batch, as large-scale recipes do.

    >>> Projector(256)(torch.zeros(2, 256)).shape
    torch.Size([2, 32])
    """

    def __init__(self, num_features: int, hidden: int = 128, dim: int = 32, batch_norm: bool = False) -> None:
        super().__init__()
        middle: list[nn.Module] = [nn.BatchNorm1d(hidden)] if batch_norm else []
        self.body = nn.Sequential(nn.Linear(num_features, hidden), *middle, nn.ReLU(), nn.Linear(hidden, dim))

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


def projected(
    model: nn.Module, *, hidden: int = 128, dim: int = 32, batch_norm: bool = False, seed: int = 0
) -> Projected:
    """Put a fresh projector on an encoder; a model that has one already keeps it when the widths agree.

    Args:
        model: an encoder with ``num_features``, or a ``Projected``.
        seed: of the projector's initial weights.

    Raises:
        CounterpointError: the model does not say how wide its features are.
    """
    if isinstance(model, Projected):
        last = [layer for layer in model.projector.modules() if isinstance(layer, nn.Linear)][-1]
        if last.out_features == dim:
            return model
        model = model.encoder
    width = getattr(model, "num_features", None)
    if not isinstance(width, int):
        raise CounterpointError(
            f"{type(model).__name__} has no attribute num_features; set it to the width of its output: model.num_features = 512"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Projector(width, hidden, dim, batch_norm)
    return Projected(model, head)
