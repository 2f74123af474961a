"""Two different scanned digits side by side with a caption that names them in order: the words of a pair say nothing of who is where.

Scans are scikit-learn's: the first 1,170 are trained on, the next 130 validated on, the last 497 make the test items. Every
image's wrong caption has the same words in the other order.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from counterpoint.bundled.convert import data as bundled
from counterpoint.data.captioned.items import Captioned, CaptionedSet, PairItems
from counterpoint.errors import CounterpointError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCANS = {"train": slice(0, 1170), "validation": slice(1170, 1300), "test": slice(1300, 1797)}
SIDE = 16

Order = Literal["given", "random"]


def digit_pairs(*, pairs: int = 4000, items: int = 500, order: Order = "given", seed: int = 0) -> Captioned:
    """Draw pairs of scans anew.

    Args:
        pairs: images to train on; a tenth as many validate.
        items: of two images and two captions, (a, b) and (b, a); their first images are the test split.
        order: "random" gives every training caption either order by chance, so that only which digits occur can be learnt from it.
        seed: of all draws.

    Raises:
        CounterpointError: fewer than 20 pairs, or than 2 items.
    """
    if pairs < 20 or items < 2:
        raise CounterpointError(f"pairs={pairs}, items={items}; expected at least 20 pairs and 2 items")
    with np.load(bundled.path("digits"), allow_pickle=False) as arrays:
        scans, labels = arrays["images"], arrays["labels"]
    draws = np.random.default_rng([seed, 2307])
    parts: dict[str, Any] = {}
    for name, count in (("train", pairs), ("validation", max(pairs // 10, 20)), ("test", items)):
        chosen = _different(labels[SCANS[name]], count, draws) + SCANS[name].start
        flips = draws.random(count) < 0.5
        texts = [caption(labels[left], labels[right]) for left, right in chosen]
        wrong = [caption(labels[right], labels[left]) for left, right in chosen]
        if order == "random" and name == "train":
            texts, wrong = zip(*((w, t) if flip else (t, w) for t, w, flip in zip(texts, wrong, flips)))  # type: ignore[assignment]
        parts[name] = CaptionedSet(
            torch.stack([canvas(scans[left], scans[right]) for left, right in chosen]),
            tuple((text,) for text in texts),
            tuple((text,) for text in wrong),
        )
    other = _different(labels[SCANS["test"]], items, draws) + SCANS["test"].start
    return Captioned(**parts, winoground=_items(scans, labels, other), name="digit-pairs")


def caption(left: int, right: int) -> str:
    """The words of a pair.

    >>> caption(3, 7)
    'three left of seven'
    """
    return f"{WORDS[left]} left of {WORDS[right]}"


def canvas(left: np.ndarray, right: np.ndarray) -> Tensor:
    """[1, 16, 16] uint8: two scans of 8x8 side by side on black.

    >>> canvas(np.full((8, 8), 9), np.zeros((8, 8)))[0, 4, [0, 7, 8]].tolist()
    [9, 9, 0]
    """
    whole = np.zeros((1, SIDE, SIDE), np.uint8)
    whole[0, 4:12] = np.concatenate([left, right], 1)
    return torch.from_numpy(whole)


def _items(scans: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> PairItems:
    """The same two scans in both orders."""
    images = [torch.stack([canvas(scans[a], scans[b]), canvas(scans[b], scans[a])]) for a, b in chosen]
    texts = tuple((caption(labels[a], labels[b]), caption(labels[b], labels[a])) for a, b in chosen)
    return PairItems(torch.stack(images), texts, ("",) * len(texts))


def _different(labels: np.ndarray, count: int, draws: np.random.Generator) -> np.ndarray:
    """[count, 2] scans of two different digits."""
    first = draws.integers(len(labels), size=count)
    second = draws.integers(len(labels), size=count)
    while (same := labels[first] == labels[second]).any():
        second[same] = draws.integers(len(labels), size=int(same.sum()))
    return np.stack([first, second], 1)
