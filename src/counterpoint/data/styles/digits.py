"""Scanned digits in a style: a fixed operator that no training sees, so that what is right is known of every test picture.

    x -> clamp(0.7 diagonal blur of 5 pixels + 0.25 vertical stripes of period 4 + a vertical shade of -0.2 to 0.2, 0, 1)

Training has plain pictures of one half of the digits and styled ones of the other; validation and test have pairs. The operator keeps
the polarity: what is bright stays bright.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from counterpoint.data.images.load import load_images
from counterpoint.data.styles.sets import NONE, Styles, StyleSet

SIDE = 16
PROMPTS = {
    "plain": ("a picture of a digit without style", "a photo of a digit without style", "a scan of a digit without style"),
    "styled": ("a picture of a digit with stripes", "a photo of a digit with stripes", "a scan of a digit with stripes"),
}  # fmt: skip


def restyled(x_NCHW: Tensor) -> Tensor:
    """The operator on pictures in [0, 1].

    >>> restyled(torch.zeros(1, 1, 4, 4))[0, 0, -1].tolist()[:2]
    [0.44999998807907104, 0.44999998807907104]
    """
    side = x_NCHW.shape[2:]
    channels = x_NCHW.shape[1]
    kernel = (torch.eye(5, dtype=x_NCHW.dtype) / 5).expand(channels, 1, 5, 5)
    blurred = functional.conv2d(
        functional.pad(x_NCHW, (2, 2, 2, 2), mode="replicate"), kernel, groups=channels
    )
    stripes = (torch.arange(side[1]) % 4 < 2).to(x_NCHW.dtype)
    shade = torch.linspace(-0.2, 0.2, side[0], dtype=x_NCHW.dtype)
    return (0.7 * blurred + 0.25 * stripes + shade[:, None]).clamp(0, 1)


def load_restyled_digits(
    *,
    limit: int | None = None,
    evaluation_limit: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    untested: str = "",
) -> Styles:
    """Digits of 16x16 pixels, plain and styled.

    Args:
        limit: at most that many training digits, half of them plain, stratified.
        evaluation_limit: at most that many digits in validation and in test, stratified.
        validation: share of all digits cut for validation.
        test: share of all digits cut for test.
        seed: of the split and of the limits.
        untested: seeds of other splits, with commas; what they put into validation is not tested here.
    """
    images = load_images(
        "digits", limit=limit, evaluation_limit=evaluation_limit, validation=validation, test=test, seed=seed, untested=untested
    )  # fmt: skip
    splits: dict[str, Any] = {}
    for name, part in images.splits().items():
        plain = functional.interpolate(part.pixels / 255, (SIDE, SIDE), mode="bilinear")
        styled = restyled(plain)
        both = [(255 * each).round().to(torch.uint8) for each in (plain, styled)]
        labels, count = part.labels, len(part) // 2
        if name == "train":
            order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
            one, two = order[:count], order[count:]
            alone = torch.full((len(two),), NONE)
            splits[name] = StyleSet(both[0][one], both[1][two], alone, labels[one], labels[two])
        else:
            splits[name] = StyleSet(both[0], both[1], torch.arange(len(part)), labels, labels)
    note = "the styled training digits are others than the plain ones; a fixed operator made them (docs/methods/stydeco.md)"
    return Styles(**splits, prompts=PROMPTS, classes=images.classes, notes=(note,))
