"""The ConvNet of data set distillation: blocks of convolution, normalisation, ReLU and halving, their output taken whole."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from counterpoint.models.images.encoders import Normalise
from counterpoint.models.model_folders import Saved


class ConvNet(Saved):
    """``Conv3x3 -> BatchNorm -> ReLU -> AvgPool2`` as often as there are widths.

    Args:
        shape: channels, height and width of the images; each block halves both sides.
        widths: channels after each block.
        mean, std: per channel, of the pixels in [0, 1].

    >>> import torch
    >>> ConvNet((1, 8, 8), widths=(4, 6))(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 24])
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int] = (128, 256, 512),
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.num_features = widths[-1] * (height >> len(widths)) * (width >> len(widths))
        self.normalise = Normalise(mean, std)
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten())

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, D]."""
        return self.body(self.normalise(pixels))
