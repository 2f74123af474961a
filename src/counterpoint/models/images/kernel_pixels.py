"""Images as their kernel with the images that were learnt from; a linear head on it is a kernel machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError
from counterpoint.kernels.ridge import kernel_rows
from counterpoint.models.model_folders import Saved


class KernelPixels(Saved):
    """``encoder(pixels)[i] = k(pixels, support_i)`` of pixels in [0, 1], in double precision within.

    Args:
        shape: channels, height and width.
        size: N, how many images were learnt from; the buffer ``support`` [N, C, H, W] uint8 holds them.
        kernel, gamma: as of ``kernels.ridge.kernel_rows``, of all pixels as one row.

    >>> KernelPixels((1, 2, 2), size=5)(torch.zeros(3, 1, 2, 2)).shape
    torch.Size([3, 5])
    """

    def __init__(self, shape: Sequence[int], size: int, kernel: str = "rbf", gamma: float = 1.0) -> None:
        super().__init__()
        self.shape, self.num_features, self.kernel, self.gamma = tuple(shape), size, kernel, gamma
        self.register_buffer("support", torch.zeros(size, *self.shape, dtype=torch.uint8))

    def forward(self, pixels: Tensor) -> Tensor:
        """[M, C, H, W] -> [M, N].

        Raises:
            CounterpointError: images of another size.
        """
        if tuple(pixels.shape[1:]) != self.shape:
            raise CounterpointError(
                f"images of {tuple(pixels.shape[1:])} for a kernel with images of {self.shape}; load them with --data-option "
                f"size={self.shape[1]}"
            )
        support = self.get_buffer("support").double().flatten(1) / 255
        return kernel_rows(self.kernel, pixels.double().flatten(1), support, self.gamma).to(torch.float32)
