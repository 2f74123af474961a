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
    file = Path(path)
    if not file.is_file() or file.suffix.lower() != ".npy":
        raise CounterpointError(
            f"partners={path}: expected a .npy file with one vector per image: np.save('captions.npy', vectors)"
        )
    try:
        vectors = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise CounterpointError(f"{file} is not a plain array: {error}") from None
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype.kind not in "fiu":
        raise CounterpointError(
            f"{file}: array {vectors.shape} of {vectors.dtype} for the {count} images of {spec}; expected [{count}, width] of "
            "numbers, row by row in the images' order"
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise CounterpointError(f"{file}: row {row} holds NaN or infinite values; mend it")
    return torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
