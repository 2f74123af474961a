"""Two towers of the kind "images" (an image encoder and a projector of text vectors) under the interface of CLIP's.

The sentence encoder that makes vectors of captions stays as it is. Shapes: N images and captions, P numbers a text, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from counterpoint.models.images.paired import Paired

TEMPERATURE = 0.07
"""Of towers whose own one was left behind with the loss."""


class PairedTowers(nn.Module):
    """What the method ``clip`` makes of images.

    Args:
        towers: both. text_encoder: what makes vectors of captions, a bundled name or a folder.
    """

    def __init__(self, towers: Paired, text_encoder: str) -> None:
        super().__init__()
        self.towers, self.text_encoder = towers, text_encoder
        self.register_buffer("log_temperature", torch.tensor(math.log(TEMPERATURE)), False)

    @property
    def width(self) -> int:
        """D."""
        last = [layer for layer in self.towers.partner.modules() if isinstance(layer, nn.Linear)][-1]
        return last.out_features

    def forward(self, pixels: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] uint8 or in [0, 1], and [N, P] -> both sides' projections [N, D]."""
        return self.images(pixels), self.texts(vectors)

    def images(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, D]."""
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        return self.towers.image(pixels, project=True)

    def texts(self, vectors: Tensor) -> Tensor:
        """[N, P] -> [N, D]."""
        return self.towers.partner(vectors)

    def temperature(self) -> Tensor:
        """What similarities are divided by, a scalar."""
        return self.get_buffer("log_temperature").exp()

    def read(self, captions: Sequence[str]) -> Tensor:
        """[N, P] vectors of the captions, made once and kept in the cache."""
        from counterpoint.models.text.embedding import cached_sentence_vectors

        return torch.from_numpy(cached_sentence_vectors(list(captions), self.text_encoder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder as it was: the kind "images" opens it."""
        self.towers.save_pretrained(folder)
