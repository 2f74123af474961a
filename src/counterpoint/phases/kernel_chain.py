"""Chains of kernel ridge regressions on a kind of data, and the ordinary model that a step of one is.

A kernel with the training rows is an encoder, a step's coefficients its linear head. N training rows, F inputs, K targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from counterpoint.data.images.load import Images
from counterpoint.data.regression.splits import Regression
from counterpoint.errors import CounterpointError
from counterpoint.kernels.spread import units
from counterpoint.models.images.classifier import Classified, fresh_heads
from counterpoint.models.images.kernel_pixels import KernelPixels
from counterpoint.models.regression.kernel_rows import KernelRows
from counterpoint.models.regression.tabular import Predictor

MOST_ROWS = 20_000
"""A Gram matrix of more than these takes gigabytes, and minutes to hours to decompose."""


@dataclass(frozen=True)
class KernelRowsOf:
    """What a chain needs of a kind of data.

    Attributes:
        rows, targets: [N, F] and [N, K] to fit, in double precision. held: the same of validation.
        model: ``(coefficients [N, K], kernel, gamma) -> model``, an encoder with its head.
    """

    rows: Tensor
    targets: Tensor
    held: tuple[Tensor, Tensor]
    model: Callable[[Tensor, str, float], nn.Module]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Rows, targets and held-out rows with theirs, for an estimator."""
        return self.rows.numpy(), self.targets.numpy(), (self.held[0].numpy(), self.held[1].numpy())


@singledispatch
def kernel_rows_of(data: Any) -> KernelRowsOf:
    """The rows of a kind of data, chosen by the type of its object: of tables standardised columns, of images their pixels.

    Raises:
        CounterpointError: another kind; more rows than a Gram matrix can have.
    """
    raise CounterpointError(
        f"a kernel needs rows of numbers, and {type(data).__name__} has none; give form=network, or a table or images"
    )


@kernel_rows_of.register
def _regression(data: Regression) -> KernelRowsOf:
    _check(len(data.train))
    y = data.train.targets.double()
    middle, spread = float(y.mean()), float(y.std()) or 1.0
    inputs = data.train.inputs.double()
    if not data.columns:
        raise CounterpointError(
            f"form=kernel on {data.name}: numbers of images need a network; give form=network"
        )
    std = inputs.std(0)
    std = units(inputs, std)  # a constant column stays what it is
    mean = inputs.mean(0)

    def model(coefficients: Tensor, kernel: str, gamma: float) -> nn.Module:
        encoding = [column.described() for column in data.encoding] or None
        encoder = KernelRows(
            list(data.columns), mean.tolist(), std.tolist(), len(inputs), kernel, gamma, encoding
        )
        encoder.get_buffer("support").copy_((inputs - mean) / std)
        whole = Predictor(encoder, middle, spread, (data.offset, data.scale))
        return _with(whole, whole.head, coefficients)

    held = data.validation
    return KernelRowsOf(
        (inputs - mean) / std,
        ((y - middle) / spread)[:, None],
        ((held.inputs.double() - mean) / std, ((held.targets.double() - middle) / spread)[:, None]),
        model,
    )


@kernel_rows_of.register
def _images(data: Images) -> KernelRowsOf:
    train, held, count = data.train.labelled(), data.validation.labelled(), len(data.classes)
    _check(len(train))
    if count < 2 or not len(train):
        raise CounterpointError(
            f"{data.name} has {len(train)} labelled training images of {count} classes; expected labels of at least two classes"
        )

    def model(coefficients: Tensor, kernel: str, gamma: float) -> nn.Module:
        encoder = KernelPixels(data.shape, len(train), kernel, gamma)
        encoder.get_buffer("support").copy_(train.pixels)
        whole = Classified(encoder, fresh_heads(len(train), data.classes, "", 1, ("plain",), 0))
        return _with(whole, whole.heads.linear, coefficients)

    def rows(pixels: Tensor) -> Tensor:
        return pixels.double().flatten(1) / 255

    return KernelRowsOf(
        rows(train.pixels),
        one_hot(train.labels, count).double(),
        (rows(held.pixels), one_hot(held.labels, count).double()),
        model,
    )


@torch.no_grad()
def _with(whole: nn.Module, head: nn.Linear, coefficients: Tensor) -> nn.Module:
    """Give a model's head the coefficients, and no bias."""
    head.weight.copy_(coefficients.T)
    head.bias.zero_()
    return whole


def _check(rows: int) -> None:
    if rows > MOST_ROWS:
        raise CounterpointError(
            f"form=kernel on {rows} rows needs a matrix of {rows}x{rows} numbers; give form=network, or at most {MOST_ROWS} rows"
        )
