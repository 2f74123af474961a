"""Pictures of several containers as one: some in memory, some on disk, each with the channels of the most colourful.

Shapes: N pictures of all parts, C channels, H by W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.data.images.decoding import mapped, taken
from counterpoint.data.images.split import hashes
from counterpoint.data.tables.converted import converted
from counterpoint.data.tables.read import LARGE

PIECE = 64
"""Pictures that are in memory at a time."""


@dataclass(frozen=True)
class Stack:
    """Pictures of one size, one part after another.

    Attributes:
        parts: uint8 [N_i, C_i, H, W] each, C_i 1 or ``channels``. channels: C of all that is taken out.

    >>> gray, colour = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.ones(1, 3, 4, 4, dtype=torch.uint8)
    >>> both = Stack((gray, colour), 3)
    >>> len(both), both.rows(torch.tensor([2, 0])).shape, len(set(both.hashes()))
    (3, torch.Size([2, 3, 4, 4]), 2)
    """

    parts: tuple[Tensor, ...]
    channels: int

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def hashes(self) -> list[bytes]:
        """A short hash of each picture's pixels, as it is taken out."""
        pieces = (
            self._picked(torch.arange(start, min(start + PIECE, len(self))))
            for start in range(0, len(self), PIECE)
        )
        return [code for piece in pieces for code in hashes(piece)]

    def rows(self, index: Tensor) -> Tensor:
        """[M, C, H, W] of these rows [M]: in memory, or, where many are asked of pixels on disk, as a file in the cache."""
        if len(self.parts) == 1 and self.parts[0].shape[1] == self.channels:
            return taken(self.parts[0], index)
        shape = (len(index), self.channels, *self.parts[0].shape[2:])
        if not any(map(_file, self.parts)) or np.prod(shape) < LARGE:
            return self._picked(index)

        def fill(folder: Path) -> None:
            copied = np.memmap(folder / "pixels.u8", np.uint8, "w+", shape=shape)
            for start in range(0, len(index), PIECE):
                copied[start : start + PIECE] = self._picked(index[start : start + PIECE]).numpy()
            copied.flush()

        name = repr(("stack", list(self._identities()), self.channels, index.numpy().tobytes()))
        return mapped(converted([], name, fill) / "pixels.u8", shape)

    def _picked(self, index: Tensor) -> Tensor:
        """[M, C, H, W] of these rows, in memory."""
        made = torch.empty(len(index), self.channels, *self.parts[0].shape[2:], dtype=torch.uint8)
        start = 0
        for part in self.parts:
            mine = (index >= start) & (index < start + len(part))
            made[mine] = part[index[mine] - start].expand(-1, self.channels, -1, -1)
            start += len(part)
        return made

    def _identities(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """What stands for each part's content; the folder of a file is named by it."""
        for part in self.parts:
            yield _file(part) or hashlib.sha256(part.contiguous().numpy().data).hexdigest(), tuple(part.shape)


def _file(pixels: Tensor) -> str | None:
    """The file that holds them; None in memory."""
    name: str | None = pixels.untyped_storage().filename
    return name
