"""A distilled set: a few learnt images, each with a vector that an encoder should give it; and the encoder that learnt from it.

Saved as ``model.safetensors`` (``images`` [M, C, H, W] in units of pixels from 0 to 1, which they may leave, and ``targets`` [M, K]),
with a gallery beside it where Pillow is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import CounterpointError
from counterpoint.models.images.gallery import GALLERY, draw_gallery
from counterpoint.models.model_folders import Saved, configuration, state


class DistilledSet(Saved):
    """M images and their targets, both learnt.

    Args:
        size: M. shape: channels, height and width. width: K.
        scale: what the target model's features were divided by.
        made: how it came about, such as "learn".

    >>> DistilledSet(3, (1, 8, 8), 5).images.shape
    torch.Size([3, 1, 8, 8])
    """

    whole = False

    def __init__(
        self, size: int, shape: Sequence[int], width: int, scale: float = 1.0, made: str = "learn"
    ) -> None:
        super().__init__()
        self.scale, self.made = scale, made
        self.images = nn.Parameter(torch.zeros(size, *shape))
        self.targets = nn.Parameter(torch.zeros(size, width))

    def __len__(self) -> int:
        return len(self.images)

    @torch.no_grad()
    def become(self, images: Tensor, targets: Tensor) -> None:
        """Take these images [M, C, H, W] and targets [M, K]."""
        self.images.copy_(images)
        self.targets.copy_(targets)

    def scaled_by(self, scale: float) -> None:
        """Note what the target model's features were divided by, for the folder's configuration, too."""
        self.scale = scale
        self._hub_mixin_config = {**(self._hub_mixin_config or {}), "scale": scale}  # type: ignore[dict-item]

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:  # type: ignore[override]
        """Write the folder, and a gallery where Pillow is installed."""
        result = super().save_pretrained(save_directory, **options)
        draw_gallery(self.images.detach().cpu(), Path(save_directory) / GALLERY)
        return result


class FromDistilled(nn.Module):
    """An encoder that was trained on a distilled set, with the set. It is an encoder itself."""

    def __init__(self, encoder: nn.Module, distilled: DistilledSet) -> None:
        super().__init__()
        self.encoder, self.distilled = encoder, distilled

    @property
    def num_features(self) -> int:
        """Width of the features."""
        return int(self.encoder.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, F] features."""
        return self.encoder(pixels)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder's ordinary folder with the set's in ``distilled/``."""
        encoder: Any = self.encoder
        encoder.save_pretrained(folder)
        self.distilled.save_pretrained(Path(folder) / "distilled")
        state(folder, self)


def open_distilled(folder: str | Path, shape: tuple[int, int, int] | None = None) -> DistilledSet:
    """Open a distilled set: its own folder, or a model's or a run's that holds one.

    Args:
        folder: ``.../distilled``, or what it lies in. shape: what images must be.

    Raises:
        CounterpointError: no set there, or one of other images.
    """
    for path in (Path(folder), Path(folder) / "distilled", Path(folder) / "model" / "distilled"):
        if configuration(path).get("architecture") == "DistilledSet":
            result = DistilledSet.from_pretrained(path)
            break
    else:
        raise CounterpointError(
            f"{folder} holds no distilled set; give a folder that krr-st wrote, such as runs/krr-st/model/distilled"
        )
    own = tuple(result.images.shape[1:])
    if shape is not None and own != shape:
        raise CounterpointError(
            f"the distilled images in {folder} are {own}, and the data's are {shape}; load the data with --data-option size={own[1]}"
        )
    return result
