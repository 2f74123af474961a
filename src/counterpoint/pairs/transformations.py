"""Fixed sets of image transformations whose identity a network can be asked for: rotations and orders of the colours.

Each set maps [B, C, H, W] to [B * M, C, H, W], rows interleaved: all M copies of the first image, then of the second.
The first transformation of every set is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from counterpoint.errors import CounterpointError, nearest

CYCLIC = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
UNCHANGED = ((0, 1, 2),)


@dataclass(frozen=True)
class Transformations:
    """Quarter turns (counter-clockwise) times orders of the three colours, rotation-major."""

    turns: tuple[int, ...]
    colours: tuple[tuple[int, ...], ...] = UNCHANGED

    def __len__(self) -> int:
        return len(self.turns) * len(self.colours)

    def __call__(self, pixels: Tensor) -> Tensor:
        """[B, C, H, W] -> [B * M, C, H, W].

        Raises:
            CounterpointError: rotation of images that are not square, or colour orders of images without three colours.
        """
        _, channels, height, width = pixels.shape
        if height != width and any(turn % 2 for turn in self.turns):
            raise CounterpointError(
                f"quarter turns need square images and these are {height}x{width}; resize with --data-option size=N"
            )
        if channels != 3 and self.colours != UNCHANGED:
            raise CounterpointError(
                f"orders of colours need 3 channels and these images have {channels}; use rotation"
            )
        copies = []
        for turn, order in product(self.turns, self.colours):
            turned = torch.rot90(pixels, turn, (2, 3))
            copies.append(turned if order == UNCHANGED[0] else turned[:, list(order)])
        return torch.stack(copies, 1).flatten(0, 1)


SETS = {
    "rotation": Transformations((0, 1, 2, 3)),
    "rotation2": Transformations((0, 2)),
    "color_perm": Transformations((0,), ORDERS),
    "color_perm3": Transformations((0,), CYCLIC),
    "rot_color_perm6": Transformations((0, 2), CYCLIC),
    "rot_color_perm12": Transformations((0, 1, 2, 3), CYCLIC),
    "rot_color_perm24": Transformations((0, 1, 2, 3), ORDERS),
}


def transformations(name: str) -> Transformations:
    """Return a set by name.

    >>> len(transformations("rot_color_perm6"))
    6
    """
    if name not in SETS:
        raise CounterpointError(f"there are no transformations '{name}'; {nearest(name, SETS)}")
    return SETS[name]
