"""A second modality beside images: one vector per image (a caption's embedding, a sensor's reading), as a ``.npy`` array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import CounterpointError


def read_partners(path: str | Path, count: int, spec: str) -> Tensor:
    """Read [count, P] float32 vectors, row i belonging to the i-th image as its container lists them.

    Raises:
        CounterpointError: nothing there, another number of rows, values that are not finite.
    """
    place = Path(path)
    if not place.is_file() or place.suffix.lower() != ".npy":
        raise CounterpointError(
            f"partners={path}: expected a .npy file with one vector per image: np.save('captions.npy', vectors)"
        )
    try:
        found = np.load(place, allow_pickle=False)
    except ValueError as error:
        raise CounterpointError(f"{place} is not a plain array: {error}") from None
    if found.ndim != 2 or len(found) != count or found.dtype.kind not in "fiu":
        raise CounterpointError(
            f"{place}: array {found.shape} of {found.dtype} for the {count} images of {spec}; expected [{count}, width] of "
            "numbers, row by row in the images' order"
        )
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(1))[0])
        raise CounterpointError(f"{place}: row {row} holds NaN or infinite values; mend it")
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))
