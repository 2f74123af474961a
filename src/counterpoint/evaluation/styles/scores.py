"""Structure and style of pictures, without a pretrained network.

structure   the correlation of edges (Sobel's, of the luminance) before and after: 1 where all edges stay as they are
style       which share of made pictures a classifier of domains takes for the one they should be of

The classifier is scikit-learn's logistic regression on statistics that say nothing of where things are: the mean and deviation of each channel, of
differences between neighbours at distances 1, 2 and 4, and the share of each of eight bands of the spectrum. Figures by other
classifiers, published ones among them, cannot be compared. Shapes: N pictures, C channels, H by W pixels.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

DISTANCES, BANDS = (1, 2, 4), 8
PIECE = 1024
"""Pictures that are held as doubles at a time."""


def edges(pixels: Tensor) -> Tensor:
    """[N, H, W] lengths of the luminance's slopes, of uint8 pictures."""
    grey = pixels.double().mean(1, keepdim=True) / 255
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.double)
    kernel = torch.stack([across, across.T])[:, None]
    slopes = functional.conv2d(functional.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel)
    return slopes.square().sum(1).sqrt()


def structure(before: Tensor, after: Tensor) -> Tensor:
    """[N] correlations of edges, uint8 [N, C, H, W] each; 0 where either has no edge.

    >>> picture = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8) ** 2
    >>> round(float(structure(picture, picture)), 6)
    1.0
    """
    sides = [edges(each).flatten(1) for each in (before, after)]
    one, two = (each - each.mean(1, keepdim=True) for each in sides)
    norms = one.norm(dim=1) * two.norm(dim=1)
    return torch.where(norms > 1e-12, (one * two).sum(1) / norms.clamp(min=1e-12), 0.0)


def statistics(pixels: Tensor) -> np.ndarray:
    """[N, F] of uint8 pictures, blind for where things are."""
    return np.concatenate([_statistics(piece.double() / 255) for piece in pixels.split(PIECE)])


def _statistics(x: Tensor) -> np.ndarray:
    parts = [x.mean((2, 3)), x.std((2, 3))]
    for distance in (d for d in DISTANCES if d < min(x.shape[2:])):
        for axis in (2, 3):
            moved = x.narrow(axis, distance, x.shape[axis] - distance) - x.narrow(
                axis, 0, x.shape[axis] - distance
            )
            parts += [moved.mean((2, 3)), moved.abs().mean((2, 3)), moved.std((2, 3))]
    spectrum = torch.fft.rfft2(x.mean(1)).abs()
    down, right = (torch.fft.fftfreq(x.shape[2]).abs(), torch.fft.rfftfreq(x.shape[3]))
    band = ((down[:, None] ** 2 + right[None] ** 2).sqrt() / 0.71 * BANDS).long().clamp(max=BANDS - 1)
    total = spectrum.sum((1, 2)).clamp(min=1e-12)
    parts += [((spectrum * (band == number)).sum((1, 2)) / total)[:, None] for number in range(BANDS)]
    return torch.cat(parts, 1).numpy()


class StyleJudge:
    """Which domain a picture is of, learnt from training pictures of both: True for styled."""

    def __init__(self, plain: Tensor, styled: Tensor) -> None:
        features = np.concatenate([statistics(plain), statistics(styled)])
        labels = np.repeat([False, True], [len(plain), len(styled)])
        self.model: Pipeline = make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(features, labels)

    def __call__(self, pixels: Tensor) -> np.ndarray:
        """[N] whether each is taken for styled."""
        result: np.ndarray = self.model.predict(statistics(pixels))
        return result
