"""What transformers of patches share: a picture is cut into patches, which come back as a picture at the end.

Shapes: N pictures, C channels, H by W pixels, L patches, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import CounterpointError
from counterpoint.models.pictures.denoiser import Denoiser
from counterpoint.models.pictures.times import grid_positions


class Patched(Denoiser):
    """A denoiser that works on patches.

    Args:
        shape, names, text_dim, text_encoder, sampling: see ``Denoiser``.
        patch: pixels of a patch's side. width, depth: of the trunk.
    """

    def __init__(
        self,
        shape: Sequence[int],
        patch: int,
        width: int,
        depth: int,
        names: Sequence[str],
        text_dim: int,
        text_encoder: str,
        sampling: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(shape, width, depth, names, text_dim, text_encoder, sampling)
        self.patch, self.patches = patch, require_patches(shape, patch)
        self.embed = nn.Linear(self.shape[0] * patch * patch, width)
        self._steered(width)

    def _ended(self) -> None:
        """The weights behind the trunk, 0 at first, and the patches' places."""
        channels, height, width_px = self.shape
        self.modulation = nn.Linear(self.width, 2 * self.width)
        self.head = nn.Linear(self.width, channels * self.patch * self.patch)
        for layer in (self.modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        positions = grid_positions(height // self.patch, width_px // self.patch, self.width)
        self.register_buffer("positions", positions, False)

    def cut(self, x_NCHW: Tensor) -> Tensor:
        """Patches [N, L, D], with where they are."""
        h = self.embed(functional.unfold(x_NCHW, self.patch, stride=self.patch).transpose(1, 2))
        return h + self.get_buffer("positions").to(self.null.dtype)

    def joined(self, h_NLD: Tensor, c_ND: Tensor) -> Tensor:
        """[N, L, D] -> [N, C, H, W]."""
        h = self.head(modulated(h_NLD, *self.modulation(c_ND)[:, None].chunk(2, -1)))
        return functional.fold(h.transpose(1, 2), self.shape[1:], self.patch, stride=self.patch)


def modulated(h_NLD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised over D, scaled and shifted."""
    return functional.layer_norm(h_NLD, h_NLD.shape[-1:], eps=1e-6) * (1 + scale) + shift


def require_patches(shape: Sequence[int], patch: int) -> int:
    """How many patches a picture has.

    Raises:
        CounterpointError: patches that do not divide the picture.
    """
    _, height, width = shape
    if height % patch or width % patch:
        raise CounterpointError(
            f"pictures of {height}x{width} pixels do not divide into patches of {patch}; give another patch, --model dit-small:N, "
            "or other pictures, --data-option size=N"
        )
    return (height // patch) * (width // patch)
