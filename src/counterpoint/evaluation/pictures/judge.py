"""What looks at drawn pictures: features for distances, and which class a picture is of. It never saw a drawn one.

"mlp": scikit-learn's network of one hidden layer (128 units) on the data's training images and their classes; its hidden layer
is the features. "pixels": no classes, the pixels themselves. A folder: an image model's features, and a linear classifier on them.
Pixels are brought to at most 16 a side for "mlp", 8 for "pixels".
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from counterpoint.data.images.sets import Images
from counterpoint.data.pictures.load import Pictures
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.features import features
from counterpoint.models.images.folder import FOLDERS

SIDES = {"mlp": 16, "pixels": 8}
HIDDEN, PASSES = 128, 200


@dataclass(frozen=True)
class Look:
    """Of M pictures: features [M, F], and classes [M] where they can be said."""

    features: np.ndarray
    classes: np.ndarray | None


class Judge:
    """A judge that was trained on images; call it with uint8 pixels [M, C, H, W].

    Args:
        images: with classes, unless ``judge`` needs none.
        judge: "mlp", "pixels", or a folder of an image model.

    Raises:
        CounterpointError: neither of these.
    """

    def __init__(self, images: Images, judge: str) -> None:
        self.encoder = None
        self.side = SIDES.get(judge, 0)
        if judge not in SIDES:
            if not (Path(judge) / "config.json").exists():
                raise CounterpointError(
                    f"judge={judge}; expected {', '.join(SIDES)}, or the folder of an image model such as runs/NAME/model"
                )
            self.encoder = FOLDERS.open(Path(judge)).eval()
        labelled = images.train.labelled()
        self.classifier: MLPClassifier | LogisticRegression | None = None
        if judge == "pixels" or not len(labelled):
            self.side = self.side and SIDES["pixels"]
            return
        kind = MLPClassifier((HIDDEN,), max_iter=PASSES, random_state=0)
        self.classifier = kind if judge == "mlp" else LogisticRegression(max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.classifier.fit(self._given(labelled.pixels), labelled.labels.numpy())

    def __call__(self, pixels: Tensor) -> Look:
        """Features and classes of pictures."""
        given = self._given(pixels)
        if self.classifier is None:
            return Look(given, None)
        seen = given
        if isinstance(self.classifier, MLPClassifier):
            seen = np.maximum(given @ self.classifier.coefs_[0] + self.classifier.intercepts_[0], 0)
        return Look(seen, self.classifier.predict(given))

    def _given(self, pixels: Tensor) -> np.ndarray:
        if self.encoder is not None:
            return features(self.encoder, pixels).double().numpy()
        height, width = (min(self.side, edge) for edge in pixels.shape[2:])
        small = pixels / 255
        if (height, width) != pixels.shape[2:]:
            small = adaptive_avg_pool2d(small, (height, width))
        return small.flatten(1).double().numpy()


def judge_of(data: Pictures) -> Judge:
    """The judge of these data, trained once in a process."""
    return _cached(data.images.fingerprint(), data.judge, _Held(data.images))


class _Held:
    """Images that do not count for equality: their fingerprint stands before them."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def _cached(fingerprint: str, judge: str, images: _Held) -> Judge:
    threads = torch.get_num_threads()
    result = Judge(images.images, judge)
    torch.set_num_threads(threads)
    return result
