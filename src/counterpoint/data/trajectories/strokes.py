"""Handwritten digits seen by a hidden person who cares how a stroke looks, not which digit it is.

Real scans (scikit-learn's digits, 8x8). The features are measured on each image: how much ink, how slanted, how wide
against how tall. Which digit was written is the nuisance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.data.trajectories.sets import TrajectoryData, divided

FEATURES = ("ink", "slant", "breadth")


def stroke_features(images: Tensor) -> Tensor:
    """[N, 3] mean darkness, slant (horizontal shift per row, from second moments) and log breadth of [N, H, W] images.

    >>> upright, slanted = torch.zeros(5, 5), torch.eye(5).flip(1)
    >>> upright[:, 2] = 1
    >>> [round(float(slant), 2) for slant in stroke_features(torch.stack([upright, slanted]))[:, 1]]
    [0.0, 1.0]
    """
    rows = torch.arange(images.shape[1], dtype=images.dtype)[None, :, None]
    columns = torch.arange(images.shape[2], dtype=images.dtype)[None, None, :]
    ink = images.sum((1, 2)).clamp(min=1e-6)
    y = (images * rows).sum((1, 2)) / ink
    x = (images * columns).sum((1, 2)) / ink
    dy, dx = rows - y[:, None, None], columns - x[:, None, None]
    yy, xx, xy = ((images * a * b).sum((1, 2)) / ink for a, b in ((dy, dy), (dx, dx), (dx, dy)))
    breadth = 0.5 * torch.log((xx + 0.1) / (yy + 0.1))
    return torch.stack([images.mean((1, 2)), (-xy / yy.clamp(min=1e-6)) + 0.0, breadth], 1)


def load_strokes(train: float = 0.5, validation: float = 0.25, seed: int = 0) -> TrajectoryData:
    """Load the 1,797 digits as rows of 64 pixels with the three stroke features."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images).float() / 16
    return TrajectoryData(
        *divided(images.flatten(1), stroke_features(images), FEATURES, train, validation, seed),
        feature_names=FEATURES,
        source="strokes",
        notes=("1,797 scanned digits; a person judges the stroke, the digit is the nuisance",),
        layout="digit",
    )
